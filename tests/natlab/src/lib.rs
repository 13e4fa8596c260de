//! The real binaries in network namespaces behind nftables NATs.
//!
//! One lab is a small internet on this machine: a public segment with the servers, and two sites,
//! each a host behind its own NAT. The NATs are proven first, one by one by an independent RFC 5780
//! client ([`probe`]) and in pairs by a plain punch ([`punch`]); then `coordinator` and `p2p` run
//! through every pair of them ([`matrix`]).
//!
//! Reading order: [`nat`] (what a NAT does), [`fabric`] (what the internet between them does),
//! [`topology`] (where everything stands), [`probe`] and [`crossing`] (is it what it claims),
//! [`cell`] (two peers behind two NATs), [`matrix`] (all of them), [`measure`] (how fast, far apart),
//! [`report`] and [`page`].

pub mod broker;
pub mod cases;
pub mod cell;
pub mod crossing;
pub mod early_packet;
pub mod echo;
pub mod fabric;
pub mod forward;
pub mod http;
pub mod ice_player;
pub mod lossy_direct;
pub mod matrix;
pub mod measure;
pub mod migration;
pub mod namespace;
pub mod nat;
pub mod netcheck;
pub mod node_package;
pub mod page;
pub mod peer;
pub mod player;
pub mod probe;
pub mod process;
pub mod punch;
pub mod report;
pub mod services;
pub mod switch;
pub mod topology;
pub mod udp_blocked;
