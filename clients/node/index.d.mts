export * from './index.js'
export { P2PCoordinator as default } from './index.js'
