import { createSilentLog } from '../../../src/log.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { describeStore } from '../../support/store-contract.ts'
import { temporaryFolder } from '../../support/store-folder.ts'

describeStore('embedded', async () => {
  const folder = await temporaryFolder()
  return {
    create: (limits, now) =>
      createEmbeddedStore({
        path: folder.path,
        sync: true,
        cacheBytes: 1_000_000,
        limits,
        log: createSilentLog(),
        now,
      }),
    dispose: () => folder.remove(),
  }
})
