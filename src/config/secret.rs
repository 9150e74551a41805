//! The secret that servers share, so that they accept each other's `requestState`.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Fewest bytes of a secret: as many as the key that is derived from it.
const SECRET_BYTES_MIN: usize = 32;
/// Most bytes of a secret: what is longer is the wrong file.
const SECRET_BYTES_MAX: usize = 4096;
/// Any access by others than owner and group.
const OTHERS: u32 = 0o007;

/// A secret: every byte of a file, a newline at its end included. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes, at least 32.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Reads a secret, and says whether others than owner and group may read it too.
///
/// # Errors
/// What is wrong, with the mend.
pub(crate) fn read(path: &Path) -> Result<(Secret, bool), String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    let exposed = about.permissions().mode() & OTHERS != 0;
    let mut bytes = Vec::new();
    let read = file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.len() {
        ..SECRET_BYTES_MIN => Err(format!(
            "{} bytes are too few for a secret of at least {SECRET_BYTES_MIN}: make one with: \
             head -c 32 /dev/urandom > {}",
            bytes.len(),
            path.display(),
        )),
        SECRET_BYTES_MIN..=SECRET_BYTES_MAX => Ok((Secret(bytes), exposed)),
        _ => Err(format!("more than {SECRET_BYTES_MAX} bytes are no secret: is it this file?")),
    }
}
