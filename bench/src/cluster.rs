//! Libraries on a cluster of three masters, and on the same server alone.

use std::time::Duration;

use testkit::{Cluster, Server};

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{BUS_MESSAGES, ON_A_CLUSTER, ON_ONE_SERVER, Place};
use crate::participant::{ARBITER, Participant};
use crate::scale::Scale;
use crate::sections::hand_offs;
use crate::stage::{ANSWER_LIMIT, Stage};

/// Libraries that find the nodes of a cluster by themselves.
const LIBRARIES: [&str; 2] = [ARBITER, "rueidislock"];

/// How many tasks make cycles.
const TASKS: [usize; 2] = [1, 64];

/// Measures on both in turn, and in every other round on the cluster first.
pub(crate) fn cluster(
    participants: &[Participant],
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) {
    let (cluster, server) = (Cluster::start(), Server::start());
    for participant in participants {
        if !LIBRARIES.contains(&participant.name) {
            continue;
        }
        let mut places = [
            (&ON_ONE_SERVER, std::slice::from_ref(&server), server.url()),
            (
                &ON_A_CLUSTER,
                &cluster.nodes[..],
                url(participant, &cluster),
            ),
        ];
        if !round.is_multiple_of(2) {
            places.reverse();
        }
        for (place, servers, url) in places {
            let library = participant.name;
            eprintln!("{}: {library}", place.name);
            let mut stage = Stage::on_servers(participant, servers, url);
            if let Err(failure) = measure(&mut stage, servers, place, scale, round, figures) {
                figures.note_failure(format!("{}: {library}: {failure}", place.name));
            }
        }
    }
}

/// Returns the URL for a participant: of all nodes, or of one for a library that finds the others.
fn url(participant: &Participant, cluster: &Cluster) -> String {
    match participant.name {
        ARBITER => cluster.url(),
        _ => cluster.nodes[0].url(),
    }
}

fn measure(
    stage: &mut Stage<'_>,
    servers: &[Server],
    place: &Place,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let library = stage.participant.name;
    let limit = Duration::from_millis(scale.cycles_ms) + ANSWER_LIMIT;
    for (at, tasks) in TASKS.iter().enumerate() {
        let line = format!("cycles {tasks} {}", scale.cycles_ms);
        let answer = stage.process()?.ask(&line, "cycles", limit)?;
        let [count, seconds, p50, _] = answer[..] else {
            return Err("an answer to cycles has four numbers".into());
        };
        figures.note_value(round, library, place.cycles[at], count / seconds);
        figures.note_value(round, library, place.cycle_p50[at], p50);
    }
    let before = bus_messages(servers);
    let mut made = hand_offs(stage, 1, &place.in_process, scale, round, figures)?;
    made += hand_offs(stage, 2, &place.between, scale, round, figures)?;
    if 1 < servers.len() {
        let messages = (bus_messages(servers) - before) * 1e3 / made as f64;
        figures.note_value(round, library, BUS_MESSAGES, messages);
    }
    Ok(())
}

/// Returns how many published messages the nodes have received from each other. Each master has no
/// replica, so these are of other shards.
fn bus_messages(servers: &[Server]) -> f64 {
    let received = servers.iter().map(|server| {
        let info = server.call(&["CLUSTER", "INFO"]).text().unwrap_or_default();
        let counts = info.lines().filter_map(|line| {
            let (name, count) = line.split_once(':')?;
            let kind = name.strip_prefix("cluster_stats_messages_")?;
            let kind = kind.strip_suffix("_received")?;
            let is_published = kind.starts_with("publish");
            is_published.then(|| count.trim().parse::<f64>().ok())?
        });
        counts.sum::<f64>()
    });
    received.sum()
}
