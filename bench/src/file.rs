//! The files: all figures as they were measured, and the picture drawn from them.

use std::path::Path;

use serde_json::{Value, json};

use crate::Failure;
use crate::chart;
use crate::figures::Figures;
use crate::settings::Settings;

pub(crate) const JSON: &str = "figures.json";
pub(crate) const SVG: &str = "figures.svg";

pub(crate) fn write(settings: &Settings, figures: &Figures, server: &str) -> Result<(), Failure> {
    let mut libraries = serde_json::Map::new();
    for (library, measure, values) in figures.all() {
        let of_library = libraries.entry(library).or_insert_with(|| json!({}));
        of_library[measure] = values.into_iter().map(rounded).collect();
    }
    let cores = std::thread::available_parallelism()?;
    let all = json!({
        "date": jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        "server": server,
        "cores": cores.get(),
        "rounds": settings.rounds,
        "quick": settings.scale.is_quick,
        "versions": figures.versions,
        "notes": figures.notes().collect::<Vec<_>>(),
        "figures": libraries,
    });
    let folder = Path::new(settings.folder());
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(JSON), format!("{all:#}\n"))?;
    if let Some(picture) = chart::svg(figures) {
        std::fs::write(folder.join(SVG), picture)?;
    }
    println!("\nfigures and chart: {}", folder.display());
    Ok(())
}

/// Rounds to six digits: more are noise.
fn rounded(value: f64) -> Value {
    let rounded = format!("{value:.5e}").parse::<f64>().unwrap_or(value);
    match rounded.fract() == 0.0 && rounded.abs() < 1e15 {
        true => json!(rounded as i64),
        false => json!(rounded),
    }
}

/// Reads the figures of a file.
pub(crate) fn read(path: &Path) -> Result<Figures, Failure> {
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let mut figures = Figures::default();
    for (library, measures) in all["figures"].as_object().ok_or("no figures")? {
        for (measure, values) in measures.as_object().ok_or("no measures")? {
            let values = values.as_array().ok_or("no values")?;
            for (round, value) in values.iter().filter_map(Value::as_f64).enumerate() {
                figures.note_value(round, library, measure, value);
            }
        }
    }
    Ok(figures)
}
