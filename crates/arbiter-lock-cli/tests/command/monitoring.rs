//! The dashboard and the alert rules name metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// Returns the words of a text that are names of metrics.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let metrics = words.filter(|word| word.starts_with("arbiter_") && *word != "arbiter_store_");
    metrics.map(str::to_owned).collect()
}

/// Returns the metrics that the docs list in tables.
fn documented() -> BTreeSet<String> {
    let docs = read("docs/command.md") + &read("docs/observability.md");
    metrics_in(&docs)
}

#[test]
fn dashboard_queries_documented_metrics() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("monitoring/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queried = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let metrics = metrics_in(target["expr"].as_str().unwrap());
            assert_eq!(metrics.len(), 1, "{target}");
            queried.extend(metrics);
        }
    }
    let documented = documented();
    let is_known = |metric: &&String| {
        let histogram = metric.trim_end_matches("_bucket");
        documented.contains(*metric) || documented.contains(histogram)
    };
    let unknown: Vec<_> = queried.iter().filter(|m| !is_known(m)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(20 < queried.len(), "{queried:?}");
}

#[test]
fn alert_rules_query_documented_metrics() {
    let rules = read("monitoring/alerts.yaml");
    let is_comment = |line: &&str| line.trim().starts_with('#');
    let queried = rules.lines().filter(|line| !is_comment(line));
    let queried: BTreeSet<_> = queried.flat_map(metrics_in).collect();
    let exprs = rules
        .lines()
        .filter(|line| line.trim().starts_with("expr: "));
    let alerts = rules
        .lines()
        .filter(|line| line.trim().starts_with("- alert: "));
    assert_eq!(exprs.count(), alerts.count());
    let unknown: Vec<_> = queried.difference(&documented()).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(6 < queried.len(), "{queried:?}");
}
