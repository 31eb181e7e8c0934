//! The folder of the embedded store.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use rustix::fs::{Access, Mode, OFlags, access, open};

use super::failure;
use super::rights::Rights;
use crate::errors::invalid::Invalid;
use crate::store::{Failure, FailureKind};

/// The longest path of a folder whose sockets are named by it: the system limits their paths.
pub(super) const LONGEST_FOR_SOCKETS: usize = 70;
/// The longest path of a folder. SQLite's limit for its files is 512 bytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LONGEST: usize = 400;
/// The longest path of a folder.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LONGEST: usize = LONGEST_FOR_SOCKETS;

/// The characters that are percent-encoded in a URL.
const PLAIN: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

/// Returns the path of a folder's SQLite file.
pub(super) fn database(folder: &Path) -> PathBuf {
    folder.join("arbiter.db")
}

/// Returns the folder that a `file:` URL names.
pub(super) fn folder_of_url(url: &str) -> Result<PathBuf, Invalid> {
    let path = url.strip_prefix("file://").filter(|p| p.starts_with('/'));
    let Some(path) = path else {
        return Err(Invalid::new(
            "store",
            // The URL is not shown: it may have a password.
            "the store's URL names no folder; use a URL such as file:///var/lib/arbiter",
        ));
    };
    if path.contains(['?', '#']) {
        return Err(Invalid::new(
            "store",
            "the store's URL has a '?' or '#', and a folder has no options; in its name, '?' is \
             written %3F, '#' %23",
        ));
    }
    let bytes: Vec<u8> = percent_decode_str(path.trim_end_matches('/')).collect();
    let folder = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    if LONGEST < folder.as_os_str().len() {
        return Err(Invalid::new(
            "store",
            format!(
                "the path of a store must have at most {LONGEST} bytes, got {} bytes: {}",
                folder.as_os_str().len(),
                folder.display()
            ),
        ));
    }
    Ok(folder)
}

/// Returns the folder of this user: `/var/lib/arbiter` for root, else `$XDG_STATE_HOME/arbiter`,
/// else `~/.local/state/arbiter`.
fn default_folder() -> Result<PathBuf, Invalid> {
    let named = |variable| std::env::var_os(variable).map(PathBuf::from);
    let is_root = rustix::process::geteuid().is_root();
    folder_of_user(is_root, named("XDG_STATE_HOME"), named("HOME")).ok_or_else(|| {
        Invalid::new(
            "store",
            "no store is named, and HOME names no absolute path; name a store",
        )
    })
}

fn folder_of_user(is_root: bool, state: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if is_root {
        return Some("/var/lib/arbiter".into());
    }
    // A relative path is ignored.
    let state = state.filter(|path| path.is_absolute());
    let home = home.filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(home?.join(".local/state")))?;
    Some(state.join("arbiter"))
}

/// Returns the URL of [`default_folder`].
pub(crate) fn default_url() -> Result<String, Invalid> {
    let folder = default_folder()?;
    let path = percent_encode(folder.as_os_str().as_encoded_bytes(), PLAIN);
    Ok(format!("file://{path}"))
}

/// Creates the folder if it is missing, for its user alone, and checks that it is usable. Its
/// subfolder is for the same users as the folder itself.
pub(super) fn prepare(folder: &Path) -> Result<(), Failure> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let failed = |e: io::Error| failure::of_io(&e, folder);
    make(folder).map_err(failed)?;
    is_folder(folder)?;
    access(folder, all).map_err(|e| failed(e.into()))?;
    let live = folder.join("live");
    let failed = |e: io::Error| failure::within(&e, &live, folder);
    make(&live).map_err(failed)?;
    is_folder(&live)?;
    // If another user made it, this process cannot change it: the check below decides.
    if let Ok(file) = open(&live, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Rights::of(folder).map_err(failed)?.give(&file.into());
    }
    access(&live, all).map_err(|e| failed(e.into()))?;
    refuse_networks(folder)
}

/// Creates a folder and its missing parents, for this user alone under any umask.
fn make(folder: &Path) -> io::Result<()> {
    let create = || DirBuilder::new().mode(0o700).create(folder);
    let created = match (create(), folder.parent()) {
        (Err(e), Some(parent)) if e.kind() == ErrorKind::NotFound => {
            make(parent)?;
            create()
        }
        (created, _) => created,
    };
    match created {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
        Ok(()) => restore(folder),
    }
}

/// Restores the user's own rights, which an unusual umask may have removed.
fn restore(folder: &Path) -> io::Result<()> {
    if folder.metadata()?.permissions().mode() & 0o700 == 0o700 {
        return Ok(());
    }
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

fn is_folder(path: &Path) -> Result<(), Failure> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Err(e) if e.kind() != ErrorKind::NotADirectory => Err(failure::of_io(&e, path)),
        _ => Err(Failure::before_sending(
            FailureKind::WrongUrl,
            format!("{} is not a folder", path.display()),
        )),
    }
}

/// Refuses network file systems: their locks and shared memory do not work between machines.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn refuse_networks(folder: &Path) -> Result<(), Failure> {
    const NETWORKS: [(u64, &str); 8] = [
        (0x6969, "NFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x517b, "SMB"),
        (0x5346_414f, "AFS"),
        (0x00c3_6400, "Ceph"),
        (0x0102_1997, "9p"),
        (0x0bd0_0bd0, "Lustre"),
    ];
    let found = rustix::fs::statfs(folder).map_err(|e| failure::of_io(&e.into(), folder))?;
    // The kernel's type has 32 bits, even if the field is wider.
    let kind = found.f_type as u64 & 0xffff_ffff;
    match NETWORKS.iter().find(|(network, _)| *network == kind) {
        None => Ok(()),
        Some((_, name)) => Err(Failure::before_sending(
            FailureKind::Unsupported,
            format!(
                "{} is on {name}, whose locks do not hold between machines; use a local folder or \
                 a server",
                folder.display()
            ),
        )),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn refuse_networks(_: &Path) -> Result<(), Failure> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_url_must_name_an_absolute_path() {
        let folder = |url| folder_of_url(url).ok();
        assert_eq!(folder("file:///a/b%20c/"), Some("/a/b c".into()));
        assert_eq!(folder("file://host/a"), None);
        assert_eq!(folder("file:a"), None);
        for with_options in ["file:///a?x=1", "file:///a#b"] {
            assert_eq!(folder(with_options), None);
        }
        assert_eq!(folder("file:///a%3Fx%23"), Some("/a?x#".into()));
        let long = format!("file:///{}", "x".repeat(LONGEST));
        let error = folder_of_url(&long).unwrap_err().to_string();
        assert!(error.contains(&format!("{} bytes", LONGEST + 1)), "{error}");
    }

    #[test]
    fn created_folders_take_the_parents_mode() {
        let scratch = super::super::tests::folder();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let (own, shared) = (scratch.path().join("own"), scratch.path().join("shared"));
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o750)).unwrap();
        for (folder, expected) in [(own, 0o700), (shared, 0o750)] {
            prepare(&folder).unwrap();
            assert_eq!(mode(&folder), expected);
            assert_eq!(mode(&folder.join("live")), expected);
        }
    }

    #[test]
    fn default_folder_is_per_user_or_machine_wide() {
        let folder = |is_root, state: &str, home: &str| {
            let path = |text: &str| Some(text).filter(|t| !t.is_empty()).map(PathBuf::from);
            folder_of_user(is_root, path(state), path(home)).map(|f| f.display().to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(folder(true, "/s", "/h"), some("/var/lib/arbiter"));
        assert_eq!(folder(false, "/s", "/h"), some("/s/arbiter"));
        assert_eq!(folder(false, "s", "/h"), some("/h/.local/state/arbiter"));
        assert_eq!(folder(false, "", "h"), None);
    }
}
