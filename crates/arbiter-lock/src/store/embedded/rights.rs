//! The rights of a folder. Everything created in it gets the same rights, regardless of the
//! creating process's umask.
//!
//! Other users may write to a shared folder, and replace its files at any moment. So nothing gets
//! rights by its name alone: a file gets them by its descriptor, and only if this process's user
//! owns it.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::fs::{PermissionsExt as _, fchown};
use std::path::Path;

use rustix::process::geteuid;

const READ_WRITE: u32 = 0o666;
const GROUP: u32 = 0o070;
const SHARED: u32 = 0o077;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const ALL: u32 = 0o7777;

/// The mode, owner and group of a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    mode: u32,
    owner: u32,
    group: u32,
}

impl Rights {
    /// Returns the rights of a folder.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(folder)?;
        Ok(Self {
            mode: found.mode(),
            owner: found.uid(),
            group: found.gid(),
        })
    }

    /// Returns the minimum mode of an entry of the folder; its owner can always use it.
    fn wanted(self, found: &Metadata) -> u32 {
        match found.is_dir() {
            true if self.mode & GROUP != 0 => self.mode & 0o777 | 0o700 | SET_GROUP,
            true => self.mode & 0o777 | 0o700,
            false => self.mode & READ_WRITE | 0o600,
        }
    }

    /// Extends the rights of an open file or folder to those of this folder, if this process's user
    /// owns it. If the system refuses, other users learn the reason when they are denied.
    pub(super) fn give(self, file: &File) {
        let Some(found) = file.metadata().ok().filter(is_own) else {
            return;
        };
        if let Some((owner, group)) = self.to_change(&found) {
            let _ = fchown(file, owner, Some(group));
        }
        let mode = found.mode() & ALL | self.wanted(&found);
        if mode != found.mode() & ALL {
            let _ = file.set_permissions(Permissions::from_mode(mode));
        }
    }

    /// Does the same for a file that must not be opened. That is a socket that was just bound, or a
    /// file that closing would unlock.
    pub(super) fn give_unopened(self, path: &Path, is_it: impl Fn(&Metadata) -> bool) {
        let Ok(unopened) = Unopened::find(path) else {
            return;
        };
        let found = unopened.metadata().ok().filter(is_own);
        let Some(found) = found.filter(is_it) else {
            return;
        };
        if let Some((owner, group)) = self.to_change(&found) {
            let _ = unopened.chown(owner, group);
        }
        // A new socket has all rights that the umask left.
        let before = match found.file_type().is_socket() {
            true => 0,
            false => found.mode() & ALL,
        };
        let mode = before | self.wanted(&found);
        if mode != found.mode() & ALL {
            let _ = unopened.chmod(mode);
        }
    }

    /// Returns the owner and group to set, if they differ. Only root changes the owner.
    fn to_change(self, found: &Metadata) -> Option<(Option<u32>, u32)> {
        let owner = geteuid().is_root().then_some(self.owner);
        let is_right = found.gid() == self.group && owner.is_none_or(|owner| found.uid() == owner);
        (!is_right).then_some((owner, self.group))
    }

    /// Returns the command that adds the folder's rights that an entry lacks, if it lacks any.
    pub(super) fn remedy(self, found: &Metadata, folder: &Path) -> Option<String> {
        let missing = self.wanted(found) & !found.mode();
        let whom = |bits, who| (missing & bits != 0).then_some(who);
        let (group, others) = (whom(0o060, "g"), whom(0o006, "o"));
        let folder = folder.display();
        let mut commands = Vec::new();
        if self.mode & SHARED == 0 && found.uid() != self.owner {
            commands.push(format!("chown -R {} {folder}", self.owner));
        }
        if self.mode & GROUP != 0 && found.gid() != self.group {
            commands.push(format!("chgrp -R {} {folder}", self.group));
        }
        if group.or(others).is_some() {
            let whom = [group, others].map(Option::unwrap_or_default).concat();
            commands.push(format!("chmod -R {whom}+rwX {folder}"));
        }
        if self.mode & STICKY != 0 && commands.is_empty() {
            // The kernel may deny users the files of others there, under any mode.
            commands.push(format!("chmod -t {folder}"));
        }
        (!commands.is_empty()).then(|| commands.join(" && "))
    }
}

/// Creates a file with the rights of the folder.
pub(super) fn create_new(path: &Path, folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.create_new(true).read(true).write(true).mode(0o600);
    let file = file.open(path)?;
    Rights::of(folder)?.give(&file);
    Ok(file)
}

/// Gives a socket that was just bound the rights of the folder.
pub(super) fn give_socket(path: &Path, folder: &Path) -> io::Result<()> {
    let is_socket = |found: &Metadata| found.file_type().is_socket();
    Rights::of(folder)?.give_unopened(path, is_socket);
    Ok(())
}

/// Returns whether this process's user owns it, and it has no other name.
fn is_own(found: &Metadata) -> bool {
    let is_alone = found.nlink() == 1 || found.is_dir();
    found.uid() == geteuid().as_raw() && is_alone
}

/// A file that is not opened: on Linux a reference to it, even if its name is reused.
#[cfg(any(target_os = "linux", target_os = "android"))]
struct Unopened(File);

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Unopened {
    fn find(path: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?.into()))
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    fn chown(&self, owner: Option<u32>, group: u32) -> io::Result<()> {
        std::os::unix::fs::chown(self.path(), owner, Some(group))
    }

    fn chmod(&self, mode: u32) -> io::Result<()> {
        std::fs::set_permissions(self.path(), Permissions::from_mode(mode))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
struct Unopened(std::path::PathBuf);

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Unopened {
    fn find(path: &Path) -> io::Result<Self> {
        Ok(Self(path.to_owned()))
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.0.symlink_metadata()
    }

    fn chown(&self, owner: Option<u32>, group: u32) -> io::Result<()> {
        std::os::unix::fs::lchown(&self.0, owner, Some(group))
    }

    fn chmod(&self, mode: u32) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, Mode, RawMode, chmodat};
        let mode = Mode::from_raw_mode(mode as RawMode);
        Ok(chmodat(CWD, &self.0, mode, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::super::tests::{Scratch, folder};
    use super::*;

    fn shared(mode: u32) -> (Scratch, Rights) {
        let folder = folder();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let rights = Rights::of(folder.path()).unwrap();
        (folder, rights)
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & ALL
    }

    #[test]
    fn file_gets_the_rights_of_its_folder() {
        for (of_folder, before, after) in [
            (0o2770, 0o600, 0o660),
            (0o2770, 0o000, 0o660),
            (0o700, 0o600, 0o600),
            (0o770, 0o644, 0o664),
            (0o1777, 0o600, 0o666),
            (0o750, 0o600, 0o640),
        ] {
            let (folder, rights) = shared(of_folder);
            let path = folder.path().join("file");
            let file = File::create(&path).unwrap();
            set(&path, before);
            rights.give(&file);
            assert_eq!(mode(&path), after, "{of_folder:o} {before:o}");
            set(&path, before);
            rights.give_unopened(&path, |_| true);
            assert_eq!(mode(&path), after, "{of_folder:o} {before:o}, unopened");
        }
    }

    #[test]
    fn nested_folder_inherits_the_group() {
        for (of_folder, after) in [(0o2770, 0o2770), (0o770, 0o2770), (0o700, 0o700)] {
            let (folder, rights) = shared(of_folder);
            let path = folder.path().join("live");
            std::fs::create_dir(&path).unwrap();
            set(&path, 0o700);
            rights.give(&File::open(&path).unwrap());
            assert_eq!(mode(&path), after, "{of_folder:o}");
        }
    }

    #[test]
    fn socket_gets_exactly_its_folders_rights() {
        for (of_folder, before, after) in [(0o2770, 0o755, 0o660), (0o700, 0o777, 0o600)] {
            let (folder, _) = shared(of_folder);
            let path = folder.path().join("wake");
            let _socket = UnixDatagram::bind(&path).unwrap();
            set(&path, before);
            give_socket(&path, folder.path()).unwrap();
            assert_eq!(mode(&path), after, "{of_folder:o}");
        }
    }

    #[test]
    fn symlinks_and_hard_links_get_no_rights() {
        let (folder, rights) = shared(0o2770);
        let secret = folder.path().join("secret");
        let file = File::create(&secret).unwrap();
        set(&secret, 0o600);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        rights.give_unopened(&link, |_| true);
        rights.give_unopened(&secret, |found| found.file_type().is_socket());
        let name = folder.path().join("name");
        std::fs::hard_link(&secret, &name).unwrap();
        rights.give_unopened(&name, |_| true);
        rights.give(&file);
        assert_eq!(mode(&secret), 0o600);
    }

    #[test]
    fn remedy_adds_only_missing_rights() {
        for (of_folder, of_file, remedy) in [
            (0o2770, 0o644, Some("chmod -R g+rwX ")),
            (0o777, 0o644, Some("chmod -R go+rwX ")),
            (0o2770, 0o660, None),
            (0o1770, 0o640, Some("chmod -R g+rwX ")),
            (0o1770, 0o660, Some("chmod -t ")),
            (0o700, 0o600, None),
        ] {
            let (folder, rights) = shared(of_folder);
            let path = folder.path().join("file");
            File::create(&path).unwrap();
            set(&path, of_file);
            let found = path.metadata().unwrap();
            let expected = remedy.map(|remedy| format!("{remedy}{}", folder.path().display()));
            assert_eq!(rights.remedy(&found, folder.path()), expected);
            let elsewhere = Rights {
                group: rights.group + 1,
                ..rights
            };
            let remedy = elsewhere.remedy(&found, folder.path()).unwrap_or_default();
            let is_shared = of_folder & GROUP != 0;
            assert_eq!(remedy.starts_with("chgrp -R "), is_shared, "{remedy}");
            let of_another = Rights {
                owner: rights.owner + 1,
                ..rights
            };
            let remedy = of_another.remedy(&found, folder.path()).unwrap_or_default();
            assert_eq!(remedy.starts_with("chown -R "), !is_shared, "{remedy}");
        }
    }
}
