//! The objects of a schema, and the statements that use them.

use std::sync::Arc;

/// The version of the tables and functions.
pub(super) const VERSION: i32 = 1;

const FILES: [&str; 4] = [
    include_str!("sql/tables.sql"),
    include_str!("sql/load.sql"),
    include_str!("sql/swap.sql"),
    include_str!("sql/guard.sql"),
];

/// How many rows of a name are read. If there are more, only some are.
pub(super) struct Windows {
    /// The waiters of which all are read.
    pub(super) waiters: u32,
    /// The first places that are read of more waiters.
    pub(super) places: u32,
    /// The shared holds of which all are read.
    pub(super) shared: u32,
    /// The first and the last shared holds to end that are read of more.
    pub(super) ends: u32,
    /// The notes of which all are read.
    pub(super) notes: u32,
    /// The waiters and the notes to forget that are read of more.
    pub(super) old: u32,
}

impl Windows {
    /// Most steps need no more.
    pub(super) const STANDARD: Self = Self {
        waiters: 64,
        places: 140,
        shared: 200,
        ends: 100,
        notes: 200,
        old: 64,
    };

    /// Returns the SQL of a file for these windows.
    fn applied_to(&self, file: &str) -> String {
        let values = [
            ("{waiters}", self.waiters),
            ("{places}", self.places),
            ("{shared}", self.shared),
            ("{ends}", self.ends),
            ("{notes}", self.notes),
            ("{old}", self.old),
        ];
        let apply =
            |sql: String, (name, value): &(&str, u32)| sql.replace(name, &value.to_string());
        values.iter().fold(file.to_owned(), apply)
    }
}

/// The statements on a schema.
#[derive(Clone)]
pub(super) struct Statements {
    pub(super) load: Arc<str>,
    pub(super) lock: Arc<str>,
    pub(super) swap: Arc<str>,
    pub(super) guards: Arc<str>,
    pub(super) old_names: Arc<str>,
    pub(super) forget_runs: Arc<str>,
    pub(super) names: Arc<str>,
    pub(super) version: Arc<str>,
}

impl Statements {
    pub(super) fn new(schema: &str) -> Self {
        let schema = quoted(schema);
        Self {
            load: format!("SELECT {schema}.load($1::text::jsonb)").into(),
            lock: format!(
                "SELECT 1 FROM {schema}.names WHERE name = ANY($1) ORDER BY name \
                 FOR NO KEY UPDATE"
            )
            .into(),
            swap: format!("SELECT written, guarded FROM {schema}.swap($1::text::jsonb, $2::bool)")
                .into(),
            guards: format!("SELECT k, {schema}.guards(k) FROM unnest($1) k").into(),
            old_names: format!("SELECT names, last FROM {schema}.old_names($1)").into(),
            forget_runs: format!("SELECT {schema}.forget_runs()").into(),
            names: format!(
                "SELECT name FROM {schema}.names WHERE $1 < name AND starts_with(name, $2) \
                 ORDER BY name LIMIT $3"
            )
            .into(),
            version: format!("SELECT max(version) FROM {schema}.format").into(),
        }
    }
}

/// Returns the statements that make a schema's objects. They can run again.
pub(super) fn schema_sql(schema: &str) -> String {
    schema_sql_of(schema, &Windows::STANDARD)
}

/// Returns the statements that make a schema's objects, with other windows.
pub(super) fn schema_sql_of(schema: &str, windows: &Windows) -> String {
    let name = quoted(schema);
    let mut sql = String::from(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;\n\
         SET LOCAL client_min_messages = warning;\nSET LOCAL statement_timeout = 0;\n\
         SET LOCAL lock_timeout = '4s';\n",
    );
    // One client at a time creates them.
    let turn = literal(&format!("arbiter.schema {name}"));
    sql += &format!("SELECT pg_advisory_xact_lock(hashtextextended({turn}, 0));\n");
    // The quotes of the functions' bodies, which the name does not contain.
    let mut quotes = String::from("$a$");
    while name.contains(&quotes) {
        quotes.insert(1, 'a');
    }
    for file in FILES {
        let file = windows.applied_to(file);
        let file = file.replace("$$", &quotes);
        let file = file.replace("{schema_text}", &literal(schema));
        sql += &file.replace("{schema}", &name);
    }
    sql += &format!(
        "INSERT INTO {name}.format SELECT {VERSION} WHERE NOT EXISTS (\n  \
           SELECT FROM {name}.format WHERE {VERSION} <= version);\nCOMMIT;\n"
    );
    sql
}

/// Returns the statements that let a role use the schema, and nothing else.
pub(super) fn rights_sql(schema: &str, role: &str) -> String {
    let (schema, role) = (quoted(schema), quoted(role));
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role};\n\
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};\n\
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role};\n"
    )
}

/// Quotes an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
