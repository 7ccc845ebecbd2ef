import type { DistributionPointName, GeneralName } from 'pkijs'

/** uniformResourceIdentifier of GeneralName: RFC 5280, 4.2.1.6. */
const URI = 6

/** The URIs of a distribution point; one that is named relative to its issuer has none. */
export function uriNames(name: DistributionPointName): string[] {
  return Array.isArray(name) ? name.flatMap(uriOf) : []
}

export function uriOf({ type, value }: GeneralName): string[] {
  return type === URI && typeof value === 'string' ? [value] : []
}
