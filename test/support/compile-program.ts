import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface CompiledProgram {
  /** JavaScript file, for `node`. */
  readonly file: string
  remove(): Promise<void>
}

/**
 * Compiles a TypeScript program of the tests, as Node 20 runs no TypeScript: from the sources as they are now,
 * not from a build that may be old. Inside node_modules, so that packages are found.
 */
export async function compileProgram(source: string): Promise<CompiledProgram> {
  const cache = join(root, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  const folder = await mkdtemp(join(cache, 'test-program-'))
  const project = join(folder, 'tsconfig.json')
  const compilerOptions = { noEmit: false, outDir: join(folder, 'out'), rootDir: root, declaration: false }
  await writeFile(
    project,
    JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, files: [source], include: [] }),
  )
  await writeFile(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  await promisify(execFile)(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project])
  // It is where src/version.ts reads.
  await copyFile(join(root, 'package.json'), join(folder, 'out/package.json'))
  const compiled = relative(root, source).replace(basename(source), basename(source).replace(/\.ts$/, '.js'))
  return {
    file: join(folder, 'out', compiled),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
