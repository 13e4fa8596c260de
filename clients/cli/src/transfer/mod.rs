//! Files over a stream: our own small protocol, the same on a direct path and on a relay.
//!
//! ```text
//! sender                                              receiver
//!   "p2pfile1"  offer {name, size}              →
//!                                               ←     answer {go, offset, sha256 of that part}
//!   start {offset}  bytes…  end {sha256}        →
//!                                               ←     result {saved, name} or {refused, …}
//! ```
//!
//! Frames are a 32-bit big-endian length and JSON; the bytes stand between two of them. The receiver
//! keeps what it has in a part file and names its length and digest: the sender goes on from there
//! if its own file begins the same way, and from zero if not. The digest of the whole file decides
//! at the end, so a resumed file is checked like any other.

pub mod frame;
pub mod name;
pub mod part;
pub mod receive;
pub mod send;

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// What every transfer begins with: another program on the stream is told apart at once.
pub const MAGIC: [u8; 8] = *b"p2pfile1";

/// Bytes that are read, hashed and sent at a time.
pub const CHUNK: usize = 64 * 1024;

/// The SHA-256 of what has been seen so far.
#[derive(Clone)]
pub struct Checksum(digest::Context);

impl Checksum {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest in hexadecimal.
    pub fn hex(&self) -> String {
        let digest = self.0.clone().finish();
        digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The connection failed: worth another try, which resumes.
    #[error("the connection ended in the middle of the file: {0}")]
    Connection(#[source] std::io::Error),
    /// A file on this side cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The other side does not speak this protocol, or breaks it.
    #[error("the other side does not transfer files: {0}")]
    Protocol(String),
    /// The other side does not want the file.
    #[error("{reason}")]
    Refused {
        /// Why, in the receiver's words.
        reason: String,
    },
    /// What arrived is not what was sent.
    #[error("the checksum does not match: {expected} was sent, {got} arrived")]
    Checksum {
        /// The sender's digest.
        expected: String,
        /// The receiver's digest.
        got: String,
    },
}

impl TransferError {
    /// A closure that blames a file.
    pub fn file(path: &std::path::Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |cause| Self::File { path: path.clone(), cause }
    }

    /// Whether another try can succeed.
    pub fn is_worth_a_retry(&self) -> bool {
        matches!(self, Self::Connection(_))
    }

    /// The name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection_lost",
            Self::File { .. } => "file",
            Self::Protocol(_) => "not_a_file_transfer",
            Self::Refused { .. } => "refused",
            Self::Checksum { .. } => "checksum",
        }
    }

    /// What a person does about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Connection(_) => "run the same command again: it goes on where it stopped",
            Self::File { .. } => "check the path, the free space and the permissions",
            Self::Protocol(_) => "run `p2p recv` on the one side and `p2p send` on the other",
            Self::Refused { .. } => "do what the other side says, then send again",
            Self::Checksum { .. } => {
                "the file changed while it was sent, or a disk is faulty: send it again"
            }
        }
    }
}

/// Told how far a transfer is. Called for every chunk, so it has to be cheap.
pub trait Progress: Send {
    /// Of the file, this many bytes are there.
    fn at(&mut self, bytes: u64);
}

#[cfg(test)]
mod tests {
    //! Sender and receiver against each other over an in-memory stream.

    use std::path::{Path, PathBuf};

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::receive::{Inbox, Received};
    use super::*;

    #[tokio::test]
    async fn a_file_arrives_whole_under_its_own_name() {
        let dirs = Dirs::new();
        let file = dirs.file("data.bin", &pattern(300_000));
        let saved = dirs.transfer(&file).await.unwrap();
        assert_eq!(saved.path, dirs.inbox().join("data.bin"));
        assert_eq!(std::fs::read(&saved.path).unwrap(), pattern(300_000));
        assert_eq!(dirs.inbox_names(), ["data.bin"]);
    }

    #[tokio::test]
    async fn an_empty_file_arrives() {
        let dirs = Dirs::new();
        let saved = dirs.transfer(&dirs.file("empty", b"")).await.unwrap();
        assert_eq!(std::fs::read(saved.path).unwrap(), b"");
    }

    #[tokio::test]
    async fn an_existing_file_is_never_overwritten() {
        let dirs = Dirs::new();
        std::fs::write(dirs.inbox().join("a.txt"), "mine").unwrap();
        let saved = dirs.transfer(&dirs.file("a.txt", b"theirs")).await.unwrap();
        assert_eq!(saved.path, dirs.inbox().join("a (1).txt"));
        assert_eq!(std::fs::read(dirs.inbox().join("a.txt")).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_stopped() {
        let dirs = Dirs::new();
        let bytes = pattern(1_000_000);
        let file = dirs.file("big.bin", &bytes);
        dirs.leave_part("big.bin", &bytes[..400_000]);
        let mut told = Told::default();
        let saved = dirs.transfer_telling(&file, &mut told).await.unwrap();
        assert_eq!(told.0.first(), Some(&400_000), "the sender begins at the part's end");
        assert_eq!(std::fs::read(saved.path).unwrap(), bytes);
        assert_eq!(dirs.inbox_names(), ["big.bin"]);
    }

    #[tokio::test]
    async fn a_part_of_another_file_is_not_resumed() {
        let dirs = Dirs::new();
        let bytes = pattern(500_000);
        let file = dirs.file("big.bin", &bytes);
        dirs.leave_part("big.bin", &vec![7; 400_000]);
        let mut told = Told::default();
        let saved = dirs.transfer_telling(&file, &mut told).await.unwrap();
        assert_eq!(told.0.first(), Some(&0));
        assert_eq!(std::fs::read(saved.path).unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_part_longer_than_the_file_is_not_resumed() {
        let dirs = Dirs::new();
        let file = dirs.file("short.bin", &pattern(1000));
        dirs.leave_part("short.bin", &pattern(5000));
        let saved = dirs.transfer(&file).await.unwrap();
        assert_eq!(std::fs::read(saved.path).unwrap(), pattern(1000));
    }

    #[tokio::test]
    async fn a_connection_that_dies_leaves_a_part_to_resume() {
        let dirs = Dirs::new();
        let bytes = pattern(1_000_000);
        let file = dirs.file("big.bin", &bytes);
        let (near, far) = duplex(1 << 16);
        // The line is cut after 300 000 bytes.
        let (mut cut_near, cut_far) = duplex(1 << 16);
        let cutting = tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(near);
            let (mut from_sender, mut to_sender) = tokio::io::split(&mut cut_near);
            let mut first = tokio::io::AsyncReadExt::take(&mut from_sender, 300_000);
            tokio::select! {
                _ = tokio::io::copy(&mut first, &mut write) => {}
                _ = tokio::io::copy(&mut read, &mut to_sender) => {}
            }
        });
        let inbox = Inbox::new(dirs.inbox());
        let mut unheard = Told::default();
        let (sent, received) = tokio::join!(
            send::send(cut_far, &file, &mut unheard),
            inbox.receive("alice", far, |_| Box::new(Told::default())),
        );
        cutting.await.unwrap();
        assert!(sent.unwrap_err().is_worth_a_retry());
        assert!(received.unwrap_err().is_worth_a_retry());
        let mut told = Told::default();
        let saved = dirs.transfer_telling(&file, &mut told).await.unwrap();
        assert!(told.0[0] > 0, "the second try resumes");
        assert_eq!(std::fs::read(saved.path).unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_name_that_points_elsewhere_stays_in_the_folder() {
        let dirs = Dirs::new();
        let (near, far) = duplex(1 << 16);
        let bytes = b"x";
        let sender = async {
            let mut near = near;
            near.write_all(&MAGIC).await.unwrap();
            let offer = frame::Offer { name: "../../etc/passwd".into(), size: 1 };
            frame::write(&mut near, &offer).await.unwrap();
            let _: frame::Answer = frame::read(&mut near).await.unwrap();
            frame::write(&mut near, &frame::Start { offset: 0 }).await.unwrap();
            near.write_all(bytes).await.unwrap();
            let mut sum = Checksum::new();
            sum.update(bytes);
            frame::write(&mut near, &frame::End { sha256: sum.hex() }).await.unwrap();
            frame::read::<frame::Outcome>(&mut near).await.unwrap()
        };
        let inbox = Inbox::new(dirs.inbox());
        let (_, received) =
            tokio::join!(sender, inbox.receive("alice", far, |_| Box::new(Told::default())));
        let saved = received.unwrap();
        assert_eq!(saved.path.parent(), Some(dirs.inbox().as_path()));
        assert_eq!(dirs.inbox_names().len(), 1);
    }

    #[tokio::test]
    async fn bytes_that_do_not_match_their_checksum_are_not_kept() {
        let dirs = Dirs::new();
        let (mut near, far) = duplex(1 << 16);
        let sender = async {
            near.write_all(&MAGIC).await.unwrap();
            frame::write(&mut near, &frame::Offer { name: "a".into(), size: 3 }).await.unwrap();
            let _: frame::Answer = frame::read(&mut near).await.unwrap();
            frame::write(&mut near, &frame::Start { offset: 0 }).await.unwrap();
            near.write_all(b"abc").await.unwrap();
            frame::write(&mut near, &frame::End { sha256: "00".repeat(32) }).await.unwrap();
            frame::read::<frame::Outcome>(&mut near).await.unwrap()
        };
        let inbox = Inbox::new(dirs.inbox());
        let (told, received) =
            tokio::join!(sender, inbox.receive("alice", far, |_| Box::new(Told::default())));
        assert!(matches!(received, Err(TransferError::Checksum { .. })));
        assert!(matches!(told, frame::Outcome::Refused { .. }));
        assert!(dirs.inbox_names().is_empty());
    }

    #[tokio::test]
    async fn a_receiver_that_cannot_open_its_part_says_so() {
        let dirs = Dirs::new();
        std::fs::create_dir(part::path(&dirs.inbox(), "a.txt")).unwrap();
        let error = dirs.transfer(&dirs.file("a.txt", b"theirs")).await.unwrap_err();
        assert!(error.to_string().contains("the receiver cannot save it"), "{error}");
        assert!(!error.is_worth_a_retry());
    }

    #[tokio::test]
    async fn a_receiver_that_stops_in_the_middle_is_heard() {
        let dirs = Dirs::new();
        let file = dirs.file("big.bin", &pattern(1_000_000));
        let (near, far) = duplex(1 << 16);
        let (mut from_sender, mut to_sender) = tokio::io::split(far);
        let full_disk = async move {
            let mut magic = [0; MAGIC.len()];
            tokio::io::AsyncReadExt::read_exact(&mut from_sender, &mut magic).await.unwrap();
            let _: frame::Offer = frame::read(&mut from_sender).await.unwrap();
            let go = frame::Answer::Go { offset: 0, sha256: Checksum::new().hex() };
            frame::write(&mut to_sender, &go).await.unwrap();
            let _: frame::Start = frame::read(&mut from_sender).await.unwrap();
            let reason = "no space left".to_owned();
            frame::write(&mut to_sender, &frame::Outcome::Refused { reason }).await.unwrap();
        };
        let mut told = Told::default();
        let (sent, ()) = tokio::join!(send::send(near, &file, &mut told), full_disk);
        let error = sent.unwrap_err();
        assert_eq!(error.to_string(), "no space left");
        assert!(!error.is_worth_a_retry());
    }

    #[tokio::test]
    async fn another_program_on_the_stream_is_told_apart() {
        let dirs = Dirs::new();
        let (mut near, far) = duplex(1 << 16);
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let inbox = Inbox::new(dirs.inbox());
        let refused = inbox.receive("alice", far, |_| Box::new(Told::default())).await;
        assert!(matches!(refused, Err(TransferError::Protocol(_))));
    }

    #[derive(Default)]
    struct Told(Vec<u64>);

    impl Progress for Told {
        fn at(&mut self, bytes: u64) {
            self.0.push(bytes);
        }
    }

    struct Dirs(tempfile::TempDir);

    impl Dirs {
        fn new() -> Self {
            let dirs = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir(dirs.inbox()).unwrap();
            dirs
        }

        fn inbox(&self) -> PathBuf {
            self.0.path().join("inbox")
        }

        fn inbox_names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.inbox()).unwrap();
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        }

        fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }

        fn leave_part(&self, name: &str, bytes: &[u8]) {
            std::fs::write(part::path(&self.inbox(), name), bytes).unwrap();
        }

        async fn transfer(&self, file: &Path) -> Result<Received, TransferError> {
            self.transfer_telling(file, &mut Told::default()).await
        }

        async fn transfer_telling(
            &self,
            file: &Path,
            told: &mut Told,
        ) -> Result<Received, TransferError> {
            let (near, far): (DuplexStream, DuplexStream) = duplex(1 << 16);
            let inbox = Inbox::new(self.inbox());
            let (sent, received) = tokio::join!(
                send::send(near, file, told),
                inbox.receive("alice", far, |_| Box::new(Told::default())),
            );
            sent?;
            received
        }
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }
}
