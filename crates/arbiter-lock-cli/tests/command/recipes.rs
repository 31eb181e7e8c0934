//! The recipes and the pages: each file parses, and each command line of `arbiter` works.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::Folder;
use yaml_rust2::{Yaml, YamlLoader};

use crate::helpers::{bare, output};
use crate::words::{command_lines, script_lines};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Reads the recipe of that path.
fn recipe(path: &str) -> String {
    fs::read_to_string(docs().join("recipes").join(path)).unwrap()
}

/// Returns the paths of all files in a folder and below.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let below = entries.map(|entry| match entry.unwrap().path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    });
    below.flatten().collect()
}

/// Runs a command line on an embedded store, with `true` in place of its command. Returns the
/// status and the output.
fn run(words: &[String], store: &Folder) -> (i32, String) {
    let is_own = words.iter().position(|word| word == "--");
    let own = &words[1..is_own.unwrap_or(words.len())];
    let mut args: Vec<&str> = own.iter().map(String::as_str).collect();
    if is_own.is_some() {
        args.extend(["--", "true"]);
    }
    let mut command = bare(&args);
    command.env(
        "ARBITER_STORE",
        format!("file://{}", store.path().display()),
    );
    let (status, stdout, stderr) = output(command);
    (status, format!("{stdout}{stderr}"))
}

/// Asserts that each of these command lines works, and returns how many there are.
fn check(lines: &[Vec<String>], origin: &Path) -> usize {
    let store = Folder::new();
    let checked = lines.iter().filter(|words| is_runnable(words));
    for words in checked.clone() {
        let (status, printed) = run(words, &store);
        // A job that is not due, or a free lock that is not there, is no mistake of the line.
        let is_right = matches!(status, 0 | 75) || words[1] == "doctor" && status == 1;
        assert!(
            is_right,
            "{}: {words:?} ends with {status}: {printed}",
            origin.display()
        );
    }
    checked.count()
}

/// Returns whether a line can run here: others need a server, a hold, or do not end by themselves.
fn is_runnable(words: &[String]) -> bool {
    const SPECIAL: [&str; 9] = [
        "--store",
        "--replicas",
        "--durable",
        "--cacert",
        "--cert",
        "--key",
        "--sni",
        "--watch",
        "--token-file",
    ];
    let has = |flag: &&str| words.iter().any(|word| word == flag);
    let is_placeholder = |word: &String| word.contains(['…', '[']) || word == "SHELL";
    let is_listed = matches!(
        words.get(1).map(String::as_str),
        Some("run" | "once" | "hold" | "status" | "list" | "doctor")
    );
    is_listed && !SPECIAL.iter().any(has) && !words.iter().any(is_placeholder)
}

#[test]
fn every_yaml_recipe_parses() {
    let all = files(&docs().join("recipes"));
    let yaml = all
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let mut lines = 0;
    for path in yaml {
        let text = fs::read_to_string(path).unwrap();
        let documents = YamlLoader::load_from_str(&text).unwrap();
        let [document] = &documents[..] else {
            panic!("{} has {} documents", path.display(), documents.len());
        };
        let found = lines_of(document);
        assert!(!found.is_empty(), "{} runs no arbiter", path.display());
        lines += check(&found, path);
        if path
            .parent()
            .is_some_and(|folder| folder.ends_with("kubernetes"))
        {
            assert!(
                document["apiVersion"].as_str().is_some(),
                "{}",
                path.display()
            );
            assert!(document["kind"].as_str().is_some(), "{}", path.display());
            assert!(
                document["metadata"]["name"].as_str().is_some(),
                "{}",
                path.display()
            );
        }
    }
    assert!(7 <= lines, "{lines} command lines");
}

/// Returns the command lines of `arbiter` in a document: lists of words, and lines of scripts.
fn lines_of(yaml: &Yaml) -> Vec<Vec<String>> {
    match yaml {
        Yaml::String(text) => command_lines(text),
        Yaml::Hash(map) => map.iter().flat_map(|(_, value)| lines_of(value)).collect(),
        Yaml::Array(items) if items.first().and_then(Yaml::as_str) == Some("arbiter") => {
            let words = items
                .iter()
                .map(|item| item.as_str().expect("a word").to_owned());
            vec![words.collect()]
        }
        Yaml::Array(items) => items.iter().flat_map(lines_of).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_command_line_of_the_pages_works() {
    let mut pages = files(&docs());
    pages.push(docs().join("../README.md"));
    let mut count = 0;
    for path in pages
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
    {
        let text = fs::read_to_string(path).unwrap();
        let blocks = text.split("```sh\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let lines: Vec<_> = blocks.flat_map(command_lines).collect();
        count += check(&lines, path);
    }
    assert!(20 < count, "{count} command lines");
}

#[test]
fn dockerfile_starts_arbiter() {
    let text = recipe("docker/Dockerfile");
    let list = |word: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(word))
            .unwrap();
        serde_json::from_str::<Vec<String>>(line).unwrap()
    };
    let words = [list("ENTRYPOINT "), list("CMD ")].concat();
    assert_eq!(check(&[words], Path::new("Dockerfile")), 1);
}

/// Makes a folder with programs that print their names, words and fence, and `arbiter`.
fn programs(names: &[&str]) -> Folder {
    let folder = Folder::new();
    for name in names {
        let path = folder.path().join(name);
        fs::write(
            &path,
            format!("#!/bin/sh\necho \"{name} $* fence=$ARBITER_FENCE\"\n"),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let arbiter = folder.path().join("arbiter");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_arbiter"), arbiter).unwrap();
    folder
}

/// Runs a shell command with those programs on an embedded store.
fn shell(programs: &Folder, store: &Folder, command: &[&str]) -> (i32, String, String) {
    let mut shell = Command::new("sh");
    shell.args(command).current_dir(docs().join("recipes"));
    let path = std::env::var("PATH").unwrap();
    shell.env("PATH", format!("{}:{path}", programs.path().display()));
    shell.env(
        "ARBITER_STORE",
        format!("file://{}", store.path().display()),
    );
    output(shell)
}

#[test]
fn crontab_runs_each_job_once() {
    let text = recipe("cron/arbiter.cron");
    let is_job = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit() || c == '*');
    let names = [
        "send-invoices",
        "sync-catalog",
        "cleanup",
        "backup",
        "rotate",
    ];
    let (programs, store) = (programs(&names), Folder::new());
    let jobs: Vec<_> = text.lines().filter(is_job).collect();
    assert_eq!(jobs.len(), names.len());
    for (job, name) in jobs.iter().zip(names) {
        let fields: Vec<_> = job.split_whitespace().collect();
        fields[..5]
            .iter()
            .for_each(|field| assert!(is_time(field), "{job}"));
        assert_eq!(fields[5], "app");
        // The first job's store is that of the test.
        let line = fields[6..].join(" ");
        let line = line.replace("/var/lib/app/locks", &store.path().display().to_string());
        let (status, stdout, stderr) = shell(&programs, &store, &["-c", &line]);
        assert_eq!(status, 0, "{line}: {stderr}");
        assert!(stdout.starts_with(name), "{line}: {stdout}");
        assert_eq!(stderr, "", "{line}");
        if line.contains("once") {
            let again = shell(&programs, &store, &["-c", &line]);
            assert_eq!(again, (0, String::new(), String::new()), "{line}");
        }
    }
}

/// Returns whether a text is a field of a crontab's time: numbers, ranges and steps.
fn is_time(field: &str) -> bool {
    field.split(',').all(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let is_number = |text: &str| text.parse::<u8>().is_ok_and(|number| number < 60);
        let is_range = range == "*" || range.split('-').all(is_number);
        is_range && is_number(step)
    })
}

#[test]
fn start_migrates_before_it_serves() {
    let (programs, store) = (programs(&["migrate", "serve"]), Folder::new());
    let (status, stdout, stderr) = shell(&programs, &store, &["migrations/start.sh"]);
    assert_eq!(status, 0, "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    let [migrated, served] = lines[..] else {
        panic!("{stdout}");
    };
    assert!(migrated.starts_with("migrate up fence=1"), "{migrated}");
    assert_eq!(served, "serve  fence=", "the lock is released by then");
}

#[test]
fn terraform_runs_alone_in_its_folder() {
    let (programs, store) = (programs(&["terraform"]), Folder::new());
    let script = ["terraform/tf.sh", "apply", "-auto-approve"];
    let (status, stdout, stderr) = shell(&programs, &store, &script);
    assert_eq!(status, 0, "{stderr}");
    assert!(
        stdout.starts_with("terraform apply -auto-approve fence=1"),
        "{stdout}"
    );
    // While another holds the lock of that folder, it names the holder.
    let held = "arbiter run --label 'another apply' terraform:recipes -- terraform/tf.sh plan";
    let (status, stdout, stderr) = shell(&programs, &store, &["-c", held]);
    assert_eq!((status, stdout.as_str()), (75, ""), "{stderr}");
    assert!(stderr.contains("another apply"), "{stderr}");
}

#[test]
fn guarded_migration_commits_under_the_lock() {
    let (server, programs) = (testkit::Postgres::start(), programs(&[]));
    let folder = Folder::new();
    let migrations = folder.path().join("migrations");
    fs::create_dir(&migrations).unwrap();
    fs::write(migrations.join("1.sql"), "CREATE TABLE one (id int);\n").unwrap();
    fs::write(migrations.join("2.sql"), "CREATE TABLE two (id int);\n").unwrap();
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(folder.path());
        let path = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{path}", programs.path().display()));
        shell.env("ARBITER_STORE", server.url());
        output(shell)
    };
    let script = recipe("migrations/guarded.sh");
    let (status, _, stderr) = run(&script);
    assert_eq!(status, 0, "{stderr}");
    let count = "SELECT count(*) FROM pg_tables WHERE tablename IN ('one', 'two', 'three')";
    assert_eq!(server.sql(count), "2");
    // Without the hold, nothing is committed.
    fs::remove_file(migrations.join("1.sql")).unwrap();
    fs::write(migrations.join("2.sql"), "CREATE TABLE three (id int);\n").unwrap();
    let stale = script.replace("fence=\"$ARBITER_FENCE\"", "fence=17");
    assert_ne!(stale, script);
    assert_ne!(run(&stale).0, 0);
    assert_eq!(server.sql(count), "2");
}

#[test]
fn sidecar_names_the_leader_until_term() {
    let documents = YamlLoader::load_from_str(&recipe("kubernetes/sidecar.yaml")).unwrap();
    let lines = lines_of(&documents[0]);
    let script = lines[0].last().unwrap();
    let (programs, store, leader) = (programs(&[]), Folder::new(), Folder::new());
    let file = leader.path().join("fence");
    let script = script.replace("/leader", &leader.path().display().to_string());
    let held = format!(
        "arbiter run api-leader -- sh -c '{}' & arbiter=$!
         until [ -s '{file}' ]; do sleep 0.05; done
         cat '{file}'; kill $arbiter; wait $arbiter; test ! -e '{file}' && echo gone",
        script.replace('\'', "'\\''"),
        file = file.display(),
    );
    let (status, stdout, stderr) = shell(&programs, &store, &["-c", &held]);
    assert_eq!(status, 0, "{stderr}");
    let (fence, rest) = stdout.split_once('\n').unwrap();
    assert!(fence.parse::<u64>().is_ok(), "{stdout}");
    assert_eq!(rest, "gone\n");
}

#[test]
fn units_of_systemd_are_valid() {
    let folder = Folder::new();
    let mut paths = Vec::new();
    for name in ["worker.service", "report.service", "report.timer"] {
        let text = recipe(&format!("systemd/{name}"));
        let sections = text.lines().filter(|line| line.starts_with('['));
        assert!(sections.clone().all(|line| line.ends_with(']')), "{name}");
        assert!(sections.count() >= 2, "{name}");
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(['#', '[']))
        {
            assert!(line.split_once('=').is_some(), "{name}: {line}");
        }
        let lines: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("ExecStart="))
            .collect();
        let words: Vec<_> = lines
            .iter()
            .flat_map(|line| script_lines(line, "/usr/local/bin/arbiter"))
            .collect();
        assert_eq!(
            check(&words, Path::new(name)),
            usize::from(name != "report.timer")
        );
        // The programs have to be there to be verified.
        let text = text.replace("/usr/local/bin/arbiter", env!("CARGO_BIN_EXE_arbiter"));
        let text = text
            .replace("/usr/local/bin/worker", "/bin/true")
            .replace("/usr/local/bin/report", "/bin/true");
        let path = folder.path().join(name);
        fs::write(&path, text.replace("User=app", "User=daemon")).unwrap();
        paths.push(path);
    }
    let Ok(verified) = Command::new("systemd-analyze")
        .arg("verify")
        .args(&paths)
        .output()
    else {
        return; // not a system with systemd
    };
    let stderr = String::from_utf8_lossy(&verified.stderr);
    let ours = |line: &&str| line.contains(&folder.path().display().to_string());
    let findings: Vec<_> = stderr.lines().filter(ours).collect();
    assert!(findings.is_empty(), "{findings:?}");
}
