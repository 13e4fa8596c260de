//! The server binary; what it does is in the library beside it.

fn main() -> std::process::ExitCode {
    p2p_coordinator::main()
}
