//! The real binaries in network namespaces behind nftables NATs.
