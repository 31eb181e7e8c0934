//! What to measure: read from the command line.

use crate::Failure;
use crate::scale::Scale;

pub(crate) const USAGE: &str = "usage: compare [--only LIBRARY,…] [--sections SECTION,…] \
    [--rounds N] [--quick] [--into FOLDER]";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Cycles,
    HandOff,
    Crowd,
    Idle,
    Growth,
    Embedded,
    Cluster,
}

impl Section {
    const ALL: [(&str, Self); 7] = [
        ("cycles", Self::Cycles),
        ("handoff", Self::HandOff),
        ("crowd", Self::Crowd),
        ("idle", Self::Idle),
        ("growth", Self::Growth),
        ("embedded", Self::Embedded),
        ("cluster", Self::Cluster),
    ];

    fn named(word: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == word);
        let names = Self::ALL.map(|(name, _)| name).join(", ");
        found
            .map(|(_, section)| section)
            .ok_or_else(|| format!("there is no section {word}: there are {names}").into())
    }
}

pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) scale: Scale,
    /// The selected libraries; all if it is empty.
    only: Vec<String>,
    /// The selected sections; all if it is empty.
    sections: Vec<Section>,
    /// Languages, and the command lines that start their peers.
    pub(crate) peers: Vec<(String, String)>,
    into: Option<String>,
}

impl Settings {
    pub(crate) fn read(args: &[String]) -> Result<Self, Failure> {
        let mut settings = Self {
            rounds: 3,
            scale: Scale::FULL,
            only: Vec::new(),
            sections: Vec::new(),
            peers: Vec::new(),
            into: None,
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if word == "--quick" {
                settings.scale = Scale::QUICK;
                settings.rounds = 1;
                continue;
            }
            let value = words.next().ok_or(USAGE)?;
            let list = || value.split(',').map(str::to_owned);
            match word.as_str() {
                "--only" => settings.only = list().collect(),
                "--rounds" => settings.rounds = value.parse::<usize>()?.max(1),
                "--into" => settings.into = Some(value.clone()),
                "--sections" => {
                    settings.sections = list()
                        .map(|word| Section::named(&word))
                        .collect::<Result<_, _>>()?;
                }
                "--peer" => {
                    let (language, program) = value.split_once('=').ok_or(USAGE)?;
                    settings
                        .peers
                        .push((language.to_owned(), program.to_owned()));
                }
                _ => return Err(USAGE.into()),
            }
        }
        Ok(settings)
    }

    pub(crate) fn wants(&self, section: Section) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }

    pub(crate) fn wants_library(&self, library: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == library)
    }

    /// Returns the folder of the figures. Figures of a part of the comparison do not replace those
    /// of all.
    pub(crate) fn folder(&self) -> &str {
        let is_whole = self.only.is_empty() && self.sections.is_empty() && !self.scale.is_quick;
        match &self.into {
            Some(folder) => folder,
            None if is_whole => "docs/performance",
            None => "target/performance",
        }
    }
}
