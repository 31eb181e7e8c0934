//! Folders of the embedded store that several users share. As root, the tests run as different
//! users. Otherwise they use one user with several umasks.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::{ChildProcess, Folder, User};

const LOCKERS: u32 = 4_200;
const ALICE: u32 = 4_201;
const BOB: u32 = 4_202;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn member(uid: u32, umask: u32) -> User {
    User {
        uid,
        gid: uid,
        member_of: LOCKERS,
        umask,
    }
}

const fn root(umask: u32) -> User {
    User {
        uid: 0,
        gid: 0,
        member_of: 0,
        umask,
    }
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn store(folder: &Folder) -> PathBuf {
    folder.path().join("store")
}

/// Returns the file by which the only process in the folder is known to live.
fn liveness_file(folder: &Folder) -> PathBuf {
    let live = std::fs::read_dir(store(folder).join("live")).unwrap();
    let mut paths = live.map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_none()).unwrap()
}

/// Creates a folder with that mode and owner, and with the shared group.
fn shared(owner: u32, mode: u32) -> Folder {
    let folder = Folder::new();
    set(folder.path(), 0o755);
    std::fs::create_dir(store(&folder)).unwrap();
    if User::is_free() {
        chown(store(&folder), Some(owner), Some(LOCKERS)).unwrap();
    }
    set(&store(&folder), mode);
    folder
}

fn start(folder: &Folder, user: User) -> ChildProcess {
    ChildProcess::example_as(
        user,
        folder,
        "child_process",
        &[&folder.url(), "l", "30000"],
    )
}

fn ready(folder: &Folder, user: User) -> ChildProcess {
    let child = start(folder, user);
    assert_eq!(child.receive(ms(10_000)).as_deref(), Some("ready"));
    child
}

fn holds(child: &mut ChildProcess) {
    child.send("hold");
    let said = child.receive(ms(10_000)).unwrap_or_default();
    assert!(said.starts_with("held "), "{said:?}");
}

fn ends(mut child: ChildProcess) {
    child.send("end");
    assert!(child.wait());
}

/// Returns each file of the store with its mode, owner and group.
fn contents(folder: &Folder) -> Vec<(PathBuf, u32, u32, u32)> {
    let store = store(folder);
    let of = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths
    };
    let paths = of(&store).into_iter().chain(of(&store.join("live")));
    let found = |path: PathBuf| {
        let found = path.symlink_metadata().unwrap();
        let (mode, owner, group) = (found.mode() & 0o7777, found.uid(), found.gid());
        (path, mode, owner, group)
    };
    paths.map(found).collect()
}

#[test]
fn umask_never_narrows_the_folders_rights() {
    for (owner, mode, user) in [
        (ALICE, 0o2770, member(BOB, 0o022)),
        (ALICE, 0o2770, member(BOB, 0o077)),
        (ALICE, 0o770, member(ALICE, 0o027)),
        (ALICE, 0o770, root(0o077)),
        (ALICE, 0o700, root(0o022)),
        (ALICE, 0o1777, member(BOB, 0o077)),
        (ALICE, 0o700, member(ALICE, 0o000)),
        (ALICE, 0o2770, member(BOB, 0o777)),
    ] {
        let folder = shared(owner, mode);
        let mut first = ready(&folder, user);
        holds(&mut first);
        ends(first);
        // The last connection removes the log and its index.
        let last = rusqlite::Connection::open(store(&folder).join("arbiter.db")).unwrap();
        let count = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
        let names = last.query_row("SELECT count(*) FROM names", [], count);
        assert_eq!(names.unwrap(), 1);
        drop(last);
        assert!(!store(&folder).join("arbiter.db-wal").exists());
        let _child = ready(&folder, user);
        let found = contents(&folder);
        assert_eq!(found.len(), 8, "{found:?}");
        for (path, of_path, of_owner, of_group) in found {
            let expected = match (path.is_dir(), mode & 0o070) {
                (true, 0) => mode & 0o777,
                (true, _) => mode & 0o777 | 0o2000,
                (false, _) => mode & 0o666,
            };
            assert_eq!(of_path, expected, "{path:?} in {mode:o} by {user:?}");
            let group = store(&folder).metadata().unwrap().gid();
            assert_eq!(of_group, group, "{path:?} in {mode:o} by {user:?}");
            if User::is_free() && user.uid == 0 {
                assert_eq!(of_owner, owner, "{path:?} is given to the folder's owner");
            }
        }
    }
}

#[test]
fn member_may_follow_root_with_another_umask() {
    for (first, second) in [
        (root(0o022), member(ALICE, 0o022)),
        (member(ALICE, 0o077), member(BOB, 0o007)),
        (member(BOB, 0o007), root(0o077)),
    ] {
        let folder = shared(0, 0o2770);
        let mut holder = ready(&folder, first);
        holds(&mut holder);
        let mut waiter = ready(&folder, second);
        waiter.send("hold");
        assert_eq!(waiter.receive(ms(200)), None);
        let begun = Instant::now();
        ends(holder);
        let said = waiter.receive(ms(10_000)).unwrap_or_default();
        assert!(said.starts_with("held "), "{said:?}");
        assert!(begun.elapsed() < ms(800), "{:?}", begun.elapsed());
        ends(waiter);
        holds(&mut ready(&folder, first));
    }
}

#[test]
fn root_leaves_a_users_own_folder_usable() {
    let folder = shared(ALICE, 0o700);
    ends(ready(&folder, root(0o022)));
    let mut of_root = ready(&folder, root(0o077));
    holds(&mut of_root);
    let mut alice = ready(&folder, member(ALICE, 0o022));
    alice.send("hold");
    assert_eq!(alice.receive(ms(200)), None);
    // The waiter notices the end although its user may not open root's files.
    of_root.kill();
    let said = alice.receive(ms(2_000)).unwrap_or_default();
    assert!(said.starts_with("held "), "{said:?}");
}

/// Returns how many of five turns the first user gets during many requests of the second. Also
/// returns the output of both.
fn turns(folder: &Folder, users: [User; 2], narrow_first: bool) -> (usize, Vec<String>) {
    let [mut first, mut second] = users.map(|user| ready(folder, user));
    if narrow_first {
        let live = std::fs::read_dir(store(folder).join("live")).unwrap();
        for path in live.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.ends_with(".wake") {
                set(&path, 0o000);
            }
        }
    }
    second.send("share 3");
    assert!(second.receive(ms(10_000)).is_some());
    first.send("queue 5");
    let mut said = Vec::new();
    let mut count = 0;
    while count < 5 {
        let Some(line) = first.receive(ms(10_000)) else {
            break;
        };
        count += usize::from(line.starts_with("held "));
        said.push(line);
    }
    second.kill();
    while let Some(line) = second.receive(ms(100)) {
        said.push(line);
    }
    (count, said)
}

#[test]
fn users_with_different_umasks_take_turns() {
    for umasks in [[0o022, 0o007], [0o077, 0o022]] {
        let folder = shared(0, 0o2770);
        let users = [member(ALICE, umasks[0]), member(BOB, umasks[1])];
        let (count, said) = turns(&folder, users, false);
        assert_eq!(count, 5, "the first starves");
        let late = said.iter().find(|line| line.starts_with("noticed late"));
        assert_eq!(late, None);
    }
}

#[test]
fn inaccessible_waiter_is_not_skipped() {
    let folder = shared(0, 0o2770);
    let users = [member(ALICE, 0o007), member(BOB, 0o007)];
    let (count, said) = turns(&folder, users, true);
    assert_eq!(count, 5, "it starves");
    let late: Vec<_> = said
        .iter()
        .filter(|line| line.starts_with("noticed late"))
        .collect();
    assert!(
        !late.is_empty() && late.len() <= 2,
        "once for each: {late:?}"
    );
    assert!(late[0].contains(".wake"), "{late:?}");
}

#[test]
fn too_narrow_rights_are_repaired_or_named() {
    let folder = shared(0, 0o2770);
    // The log and its index are not removed while a process has them open.
    let _open = ready(&folder, root(0o007));
    for (name, narrow, right) in [
        ("gate", 0o644, 0o664),
        ("arbiter.db", 0o644, 0o664),
        ("live", 0o750, 0o2770),
        ("arbiter.db-wal", 0o644, 0o664),
        ("arbiter.db-shm", 0o644, 0o664),
    ] {
        let path = store(&folder).join(name);
        set(&path, narrow);
        if User::is_free() {
            let said = start(&folder, member(ALICE, 0o022)).receive(ms(10_000));
            let said = said.unwrap_or_default();
            let (mode, remedy) = (
                format!("has mode {narrow:04o}"),
                format!("chmod -R g+rwX {}", store(&folder).display()),
            );
            let place = path.to_str().unwrap();
            for part in [place, "uid 0", &mode, "umask", &remedy] {
                assert!(said.contains(part), "{said:?} lacks {part:?}");
            }
        }
        ends(ready(&folder, root(0o022)));
        let found = path.metadata().unwrap().mode() & 0o7777;
        assert_eq!(found, right, "{name}");
        ends(ready(&folder, member(ALICE, 0o022)));
    }
}

#[test]
fn inaccessible_process_keeps_its_files() {
    let folder = shared(ALICE, 0o2770);
    let mut holder = ready(&folder, member(ALICE, 0o007));
    holds(&mut holder);
    let file = liveness_file(&folder);
    set(&file, 0o000);
    let database = rusqlite::Connection::open(store(&folder).join("arbiter.db")).unwrap();
    let another = "UPDATE clock SET boot = 'another'";
    database.execute(another, []).unwrap();
    let said = start(&folder, member(BOB, 0o007)).receive(ms(10_000));
    let said = said.unwrap_or_default();
    assert!(said.contains(file.to_str().unwrap()), "{said:?}");
    assert!(said.contains("has mode 0000"), "{said:?}");
    assert!(file.exists(), "it may be locked by one that lives");
}

#[test]
fn dead_processes_in_sticky_folder_are_cleaned_up() {
    let folder = shared(0, 0o1770);
    let mut dead = ready(&folder, member(ALICE, 0o077));
    holds(&mut dead);
    dead.kill();
    let mut next = ready(&folder, member(BOB, 0o077));
    holds(&mut next);
    ends(next);
    let _last = ready(&folder, member(BOB, 0o077));
    let live = std::fs::read_dir(store(&folder).join("live")).unwrap();
    assert_eq!(live.count(), 3, "one process lives: a file and two sockets");
}

#[test]
fn inaccessible_holder_is_reported() {
    let folder = shared(0, 0o2770);
    let mut holder = ready(&folder, member(ALICE, 0o007));
    holds(&mut holder);
    let file = liveness_file(&folder);
    set(&file, 0o000);
    let mut waiter = ready(&folder, member(BOB, 0o007));
    waiter.send("hold");
    let said = waiter.receive(ms(10_000)).unwrap_or_default();
    let place = file.to_str().unwrap();
    let is_named = said.starts_with("noticed late") && said.contains(place);
    assert!(is_named, "{said:?}");
    // It counts as alive until the waiter can see that it is dead.
    assert_eq!(waiter.receive(ms(300)), None);
    set(&file, 0o660);
    holder.kill();
    let said = waiter.receive(ms(10_000)).unwrap_or_default();
    assert!(said.starts_with("held "), "{said:?}");
}
