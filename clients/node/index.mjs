import addon from './index.js'

export const { P2PCoordinator, Connection, P2PStream, P2PError } = addon
export default P2PCoordinator
