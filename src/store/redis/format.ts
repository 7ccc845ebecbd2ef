/** Value of the key `format`: layout of the data (docs/decisions/0009-pods.md). */
export const FORMAT = '1'
/** In its place while `tunnelmq store migrate` fills it: no pod joins. */
export const UNFINISHED = 'migrating'
