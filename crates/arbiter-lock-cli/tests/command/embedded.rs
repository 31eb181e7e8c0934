//! The command on the embedded store, without a server.

use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use testkit::{Folder, WallClock, eventually};

use crate::helpers::{bare, end, ms, output, signal, start, wait_for};

fn on(folder: &Folder, args: &[&str]) -> Command {
    let mut command = bare(args);
    command.env("ARBITER_STORE", folder.url());
    command
}

#[test]
fn default_store_warns_that_it_is_machine_local() {
    // Runs as root of its own mount namespace, whose state ends with it.
    let (status, stdout, stderr) = on_a_small_disk(
        r#"
        mount --bind "$DISK" /var/lib
        unset ARBITER_STORE
        "$ARBITER" run hello -- echo "mine alone"
        ARBITER_STORE= ARBITER_STORE_FILE= "$ARBITER" run -q hello -- echo "mine again"
        ls -d /var/lib/arbiter
        stat -c %a /var/lib/arbiter
        "#,
    );
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(stdout, "mine alone\nmine again\n/var/lib/arbiter\n700\n");
    let says = "arbiter: this machine only, and this user: no store is named, so it is file:///var/lib/arbiter ";
    assert!(
        stderr.lines().count() == 2 && stderr.lines().all(|line| line.starts_with(says)),
        "{stderr}"
    );
}

#[test]
fn processes_that_start_at_once_all_run() {
    const PROCESSES: usize = 400;
    let folder = Folder::new();
    let children: Vec<_> = (0..PROCESSES)
        .map(|n| {
            let name = format!("job{n}");
            let mut command = on(&folder, &["run", "-n", &name, "--", "true"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        // Nothing is unconfirmed, and no live process is accused.
        assert!(ended.status.success() && said.is_empty(), "{said}");
    }
    let (_, listed, _) = output(on(&folder, &["list", "--json"]));
    assert_eq!(listed, "", "all are released");
}

#[test]
fn deep_home_shares_one_store_by_push() {
    let folder = Folder::new();
    let home = folder.path().join("deep/".repeat(40));
    std::fs::create_dir_all(&home).unwrap();
    let at_home = |args: &[&str]| {
        let mut command = bare(args);
        command.env("ARBITER_STORE", format!("file://{}/store", home.display()));
        command
    };
    let up = folder.path().join("up");
    let script = format!("touch {}; exec sleep 60", up.display());
    let holder = start(at_home(&["run", "job", "--", "sh", "-c", &script]));
    wait_for(&up);
    assert_eq!(output(at_home(&["run", "-n", "job", "--", "true"])).0, 75);
    let mut waiter = start(at_home(&["run", "job", "--", "true"]));
    let waits = || {
        output(at_home(&["status", "--json", "job"]))
            .1
            .contains("\"waiting\":1")
    };
    assert!(eventually(ms(5_000), waits));
    // It is tied to the holder's process by a socket, not by a lease of 30 s.
    signal(&holder, "KILL");
    assert!(eventually(ms(10_000), || waiter
        .try_wait()
        .unwrap()
        .is_some()));
    assert_eq!(end(waiter).0, Some(0));
    end(holder);
}

#[test]
fn daily_job_follows_the_current_date() {
    const DAY: i64 = 86_400_000_000;
    let (folder, clock) = (Folder::new(), WallClock::new());
    let once = |text: &str| {
        let mut command = on(
            &folder,
            &["once", "job", "--daily", "UTC", "--", "echo", text],
        );
        command.envs(clock.env());
        output(command).1
    };
    // The store keeps its time from here on, even if the date changes.
    clock.run_ahead(6 * DAY);
    assert_eq!(once("six days ahead"), "six days ahead\n");
    assert_eq!(once("again"), "");
    clock.run_ahead(0);
    assert_eq!(once("today"), "today\n", "a run in the future is none");
    assert_eq!(once("again"), "");
    clock.run_ahead(DAY);
    assert_eq!(once("tomorrow"), "tomorrow\n");
    assert_eq!(once("again"), "");
}

#[test]
fn named_folder_serves_run_status_and_break() {
    let folder = Folder::new();
    let up = folder.path().join("up");
    let script = format!("touch {}; exec sleep 60", up.display());
    let holder = start(on(&folder, &["run", "job", "--", "sh", "-c", &script]));
    wait_for(&up);
    let (status, stdout, _) = output(on(&folder, &["status", "--json", "job"]));
    assert!(status == 0 && stdout.contains("\"held\":true"), "{stdout}");
    let (_, fence) = stdout.split_once("\"fence\":").unwrap();
    let fence: String = fence.chars().take_while(char::is_ascii_digit).collect();
    let (status, _, stderr) = output(on(&folder, &["run", "-n", "job", "--", "true"]));
    assert!(
        status == 75 && stderr.contains("job is held by"),
        "{stderr}"
    );
    let (status, ..) = output(on(&folder, &["break", "--fence", &fence, "job"]));
    assert_eq!(status, 0);
    assert_eq!(end(holder).0, Some(79));
    assert_eq!(output(on(&folder, &["status", "--check", "job"])).0, 0);
}

#[test]
fn killed_arbiter_frees_once_its_command_is_dead() {
    let folder = Folder::new();
    let file = |name| folder.path().join(name);
    let (up, pid, found) = (file("up"), file("pid"), file("found"));
    let script = format!(
        "sleep 60 & echo $! >{}; touch {}; wait",
        pid.display(),
        up.display()
    );
    let mut holder = start(on(&folder, &["run", "job", "--", "sh", "-c", &script]));
    wait_for(&up);
    // Another process counts as the holder, like the watcher that kills the command's group.
    let live = std::fs::read_dir(folder.path().join("store/live")).unwrap();
    let is_liveness = |path: &std::path::PathBuf| path.extension().is_none();
    let mut files = live.map(|entry| entry.unwrap().path()).filter(is_liveness);
    let liveness = std::fs::File::open(files.next().unwrap()).unwrap();
    assert_eq!(files.next(), None);
    let liveness = Flock::lock(liveness, FlockArg::LockShared).unwrap();
    let script = format!(
        "grep State: /proc/$(cat {})/status >{found} || echo State: gone >{found}",
        pid.display(),
        found = found.display()
    );
    let mut next = start(on(&folder, &["run", "job", "--", "sh", "-c", &script]));
    let waits = || {
        let (_, stdout, _) = output(on(&folder, &["status", "--json", "job"]));
        stdout.contains("\"waiting\":1")
    };
    assert!(eventually(ms(5_000), waits));
    signal(&holder, "KILL");
    holder.wait().unwrap();
    std::thread::sleep(ms(700));
    assert!(
        next.try_wait().unwrap().is_none(),
        "one who counts as the holder still lives"
    );
    drop(liveness);
    assert!(eventually(ms(3_000), || next.try_wait().unwrap().is_some()));
    assert_eq!(end(next).0, Some(0));
    let found = std::fs::read_to_string(found).unwrap();
    assert!(
        found.contains("gone") || found.contains("zombie"),
        "the command still runs: {found}"
    );
}

/// Runs a shell script as root of its own mount namespace, on a file system of 300 KiB.
fn on_a_small_disk(script: &str) -> (i32, String, String) {
    let disk = Folder::new();
    let arbiter = bare(&[]);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-ec"]);
    command.arg(format!("mount -t tmpfs -o size=300k none $DISK; {script}"));
    command.env("DISK", disk.path());
    command.env("ARBITER", arbiter.get_program());
    command.env(
        "ARBITER_STORE",
        format!("file://{}/store", disk.path().display()),
    );
    let (status, stdout, stderr) = output(command);
    assert!(
        !stderr.contains("unshare:") && !stderr.contains("mount:"),
        "this test needs namespaces of mounts: {stderr}"
    );
    (status, stdout, stderr)
}

#[test]
fn full_disk_exits_69_and_loses_nothing() {
    let (status, stdout, stderr) = on_a_small_disk(
        r#"
        "$ARBITER" run --label kept job -- true
        "$ARBITER" run job -- sh -c 'echo $ARBITER_FENCE'
        dd if=/dev/zero of="$DISK/ballast" bs=1k 2>/dev/null || true
        for n in $(seq 40); do
          s=0; "$ARBITER" run -n "some-name-$n" -- true 2>"$DISK/said" || s=$?
          if [ $s -ne 0 ]; then break; fi
        done
        echo $s
        rm "$DISK/ballast"
        "$ARBITER" run job -- sh -c 'echo $ARBITER_FENCE'
        "#,
    );
    assert_eq!(status, 0, "{stdout} {stderr}");
    let lines: Vec<u64> = stdout.lines().map(|line| line.parse().unwrap()).collect();
    let [first, unavailable, last] = lines[..] else {
        panic!("{stdout} {stderr}")
    };
    assert!(first < last && unavailable == 69, "{stdout} {stderr}");
}

#[test]
fn read_only_disk_exits_69_and_is_named() {
    let (status, stdout, stderr) = on_a_small_disk(
        r#"
        "$ARBITER" run job -- true
        # What has watched the command is gone a moment after it.
        until mount -o remount,ro "$DISK" 2>/dev/null; do sleep 0.05; done
        s=0; "$ARBITER" run -n job -- true || s=$?
        echo $s
        "#,
    );
    assert_eq!((status, stdout.as_str()), (0, "69\n"), "{stderr}");
    assert!(stderr.contains("is read-only"), "{stderr}");
}

#[test]
fn file_lock_wait_names_holder_and_is_interruptible() {
    let folder = Folder::new();
    assert_eq!(output(on(&folder, &["run", "job", "--", "true"])).0, 0);
    let path = folder.path().join("store/gate");
    let gate = std::fs::File::options().write(true).open(&path).unwrap();
    let _shut = Flock::lock(gate, FlockArg::LockExclusive).unwrap();
    let patient = start(on(&folder, &["run", "job", "--", "true"]));
    let mut other = start(on(&folder, &["run", "job", "--", "true"]));
    let descriptors = format!("/proc/{}/fd", other.id());
    let is_there = || {
        let mut all = std::fs::read_dir(&descriptors).unwrap().flatten();
        all.any(|it| std::fs::read_link(it.path()).is_ok_and(|file| file == path))
    };
    assert!(eventually(ms(5_000), is_there));
    signal(&other, "TERM");
    // Without the signal it would wait for five seconds.
    assert!(eventually(ms(3_000), || other
        .try_wait()
        .unwrap()
        .is_some()));
    assert_eq!(end(other).1, Some(15));
    let (status, _, stderr) = end(patient);
    let who = format!(
        "process {} keeps {} locked",
        std::process::id(),
        path.display()
    );
    assert!(status == Some(69) && stderr.contains(&who), "{stderr}");
}

#[test]
fn damaged_file_error_gives_a_remedy() {
    let folder = Folder::new();
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    std::fs::write(store.join("arbiter.db"), "no database ".repeat(1_000)).unwrap();
    let (status, _, stderr) = output(on(&folder, &["run", "job", "--", "true"]));
    assert_eq!(status, 65, "{stderr}");
    assert!(
        stderr.contains("is damaged") && stderr.contains("move the file away"),
        "{stderr}"
    );
}

#[test]
fn changed_boot_id_is_refused_while_in_use() {
    let (status, stdout, stderr) = on_a_small_disk(
        r#"
        "$ARBITER" run job -- sh -c 'touch "$DISK/up"; while ! [ -e "$DISK/done" ]; do sleep 0.1; done' &
        while ! [ -e "$DISK/up" ]; do sleep 0.1; done
        echo 11111111-2222-3333-4444-555555555555 >"$DISK/boot"
        mount --bind "$DISK/boot" /proc/sys/kernel/random/boot_id
        s=0; "$ARBITER" run -n job -- echo twice || s=$?
        echo $s
        touch "$DISK/done"
        wait $!
        "$ARBITER" run -n job -- echo once
        "#,
    );
    assert_eq!((status, stdout.as_str()), (0, "69\nonce\n"), "{stderr}");
    assert!(stderr.contains("end it first"), "{stderr}");
}

#[test]
fn ended_commands_leave_no_files() {
    let folder = Folder::new();
    let all: Vec<_> = (0..20)
        .map(|n| start(on(&folder, &["run", &format!("job-{n}"), "--", "true"])))
        .collect();
    for one in all {
        assert_eq!(end(one).0, Some(0));
    }
    // Files that a command had no time to remove are removed by later ones.
    let left = || {
        let live = std::fs::read_dir(folder.path().join("store/live")).unwrap();
        live.map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    let first = left();
    for _ in 0..5 {
        assert_eq!(output(on(&folder, &["status", "--check", "job"])).0, 0);
    }
    assert!(
        first.len() <= 6 && left().is_empty(),
        "{first:?} {:?}",
        left()
    );
}

#[test]
fn group_writable_folder_serves_the_group() {
    let folder = Folder::new();
    let arbiter = bare(&[]);
    let mut shell = Command::new("sh");
    shell.args([
        "-ec",
        r#"umask 022; mkdir "$STORE"; chmod 770 "$STORE"
        "$ARBITER" --store "file://$STORE" run -q job -- true
        cd "$STORE"; stat -c %a arbiter.db gate live"#,
    ]);
    shell.env("ARBITER", arbiter.get_program());
    shell.env("STORE", folder.path().join("shared"));
    let (status, stdout, stderr) = output(shell);
    assert_eq!(
        (status, stdout.as_str()),
        (0, "660\n660\n2770\n"),
        "{stderr}"
    );
}

/// Starts a process that keeps the folder's lock file locked, and is stopped.
fn stopped_process(folder: &Folder) -> std::process::Child {
    let gate = folder.path().join("store/gate");
    let mut locking = Command::new("flock");
    let process = locking.arg("--no-fork").arg(gate).args(["sleep", "60"]);
    let process = process.spawn().unwrap();
    let status = format!("/proc/{}/stat", process.id());
    let shows = |text: &str| std::fs::read_to_string(&status).unwrap().contains(text);
    assert!(eventually(ms(5_000), || shows("(sleep) S")));
    signal(&process, "STOP");
    assert!(eventually(ms(5_000), || shows("(sleep) T")));
    process
}

#[test]
fn release_beside_a_stopped_process_ends_in_time() {
    for (flags, names, limit, says) in [
        (
            &["run"][..],
            &["a"][..],
            3_000,
            "'a' was released (lock 'a'",
        ),
        (
            &["run"],
            &["a", "b"],
            3_000,
            "'a', 'b' were released (lock 'a'",
        ),
        (
            &["run", "--announce", "x"],
            &["a"],
            3_000,
            "'a' was released",
        ),
        (
            &["once", "--at-least", "1h"],
            &["a"],
            8_000,
            "'a' was released",
        ),
    ] {
        let folder = Folder::new();
        let (up, go) = (folder.path().join("up"), folder.path().join("go"));
        let script = "touch \"$0\"; while ! [ -e \"$1\" ]; do sleep 0.05; done";
        let (up_path, go_path) = (up.display().to_string(), go.display().to_string());
        let command = ["--", "sh", "-c", script, &up_path, &go_path];
        let run = start(on(&folder, &[flags, names, &command].concat()));
        wait_for(&up);
        let mut stopped = stopped_process(&folder);
        let begun = std::time::Instant::now();
        std::fs::write(&go, "").unwrap();
        let (status, _, stderr) = end(run);
        let lasted = begun.elapsed();
        stopped.kill().unwrap();
        stopped.wait().unwrap();
        assert_eq!(status, Some(0), "{stderr}");
        assert!(lasted < ms(limit), "{lasted:?}: {stderr}");
        let line = stderr.lines().last().unwrap();
        assert!(
            line.contains("did not confirm that") && line.contains(says),
            "{stderr}"
        );
        assert!(stderr.contains("is stopped, and keeps"), "{stderr}");
        // The process of the hold is dead, which frees it.
        let (status, _, stderr) = output(on(&folder, &["run", "-w", "5", "a", "--", "true"]));
        assert_eq!(status, 0, "{stderr}");
    }
}
