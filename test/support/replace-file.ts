import { rename, writeFile } from 'node:fs/promises'

/** As careful writers do: whoever watches the file reads the old text or the new one, and never half of it. */
export async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}
