//! The file that grows while it is received, and the moment it becomes the real one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::{CHUNK, Checksum, TransferError, name};

/// Where the part of a file lies: hidden, in the same folder, so that the last step is a rename.
pub fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.p2p-part"))
}

/// A file on its way.
pub struct Part {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    pub len: u64,
    /// Their digest.
    pub checksum: Checksum,
}

impl Part {
    /// Opens what an earlier transfer left, or begins. What is there is read once for its digest.
    pub async fn open(folder: &Path, name: &str) -> Result<Self, TransferError> {
        let path = path(folder, name);
        let failed = TransferError::file(&path);
        // Whoever else can write to the folder could otherwise put a link in the way.
        if tokio::fs::symlink_metadata(&path).await.is_ok_and(|meta| !meta.is_file()) {
            return Err(failed(std::io::Error::other("is there and is not a file")));
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .await
            .map_err(&failed)?;
        let mut checksum = Checksum::new();
        let mut len = 0;
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer).await.map_err(&failed)? {
                0 => break,
                count => {
                    checksum.update(&buffer[..count]);
                    len += count as u64;
                }
            }
        }
        Ok(Self { path, file, len, checksum })
    }

    /// Throws away what is there.
    pub async fn restart(&mut self) -> Result<(), TransferError> {
        let failed = TransferError::file(&self.path);
        self.file.set_len(0).await.map_err(&failed)?;
        self.file.rewind().await.map_err(&failed)?;
        self.len = 0;
        self.checksum = Checksum::new();
        Ok(())
    }

    /// Adds bytes.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.file.write_all(bytes).await.map_err(TransferError::file(&self.path))?;
        self.checksum.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes what is buffered, so that a broken transfer leaves all it got.
    pub async fn flush(&mut self) -> Result<(), TransferError> {
        self.file.flush().await.map_err(TransferError::file(&self.path))
    }

    /// Gives the file its name, or the first free numbered one. Nothing is overwritten: a hard link
    /// fails where the name is taken, and it does so in one step.
    pub async fn keep(mut self, folder: &Path, name: &str) -> Result<PathBuf, TransferError> {
        self.flush().await?;
        self.file.sync_all().await.map_err(TransferError::file(&self.path))?;
        for place in name::places(folder, name) {
            let failed = TransferError::file(&place);
            match tokio::fs::hard_link(&self.path, &place).await {
                Ok(()) => {
                    tokio::fs::remove_file(&self.path).await.map_err(&failed)?;
                    return Ok(place);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                // A file system without hard links: claim the name, then replace the claim.
                Err(_) => {
                    match OpenOptions::new().write(true).create_new(true).open(&place).await {
                        Ok(_) => {
                            tokio::fs::rename(&self.path, &place).await.map_err(&failed)?;
                            return Ok(place);
                        }
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
            }
        }
        Err(TransferError::File {
            path: folder.join(name).display().to_string(),
            cause: std::io::Error::other("too many files of this name"),
        })
    }

    /// Removes the part.
    pub async fn discard(self) -> Result<(), TransferError> {
        tokio::fs::remove_file(&self.path).await.map_err(TransferError::file(&self.path))
    }
}
