//! A manifest's text to a [`Manifest`], without serde: for the two files that are built in, its code for TOML would be 60 kB of
//! every program. A test compares both, and refuses what this does not look at.

use toml::de::{DeTable, DeValue};

use super::{Hub, Manifest, Part, Pypi, Source};

/// The manifest that `text` says; nothing where something is missing or of another type.
pub(super) fn read(text: &str) -> Option<Manifest> {
    let table = DeTable::parse(text).ok()?.into_inner();
    let size = table.get("size")?.get_ref().as_integer()?;
    Some(Manifest {
        name: string(&table, "name")?,
        aliases: match table.get("aliases") {
            Some(aliases) => list(aliases.get_ref(), |alias| alias.as_str().map(str::to_owned))?,
            None => Vec::new(),
        },
        title: string(&table, "title")?,
        licence: string(&table, "licence")?,
        file: string(&table, "file")?,
        size: u64::from_str_radix(size.as_str(), size.radix()).ok()?,
        sha256: string(&table, "sha256")?,
        sources: list(table.get("sources")?.get_ref(), source)?,
    })
}

fn source(value: &DeValue<'_>) -> Option<Source> {
    let (kind, source) = value.as_table()?.iter().next()?;
    let source = source.get_ref().as_table()?;
    match &**kind.get_ref() {
        "hub" => Some(Source::Hub(Hub { url: string(source, "url")? })),
        "pypi" => Some(Source::Pypi(Pypi { parts: list(source.get("parts")?.get_ref(), part)? })),
        _ => None,
    }
}

fn part(value: &DeValue<'_>) -> Option<Part> {
    let table = value.as_table()?;
    Some(Part {
        package: string(table, "package")?,
        version: string(table, "version")?,
        member: string(table, "member")?,
    })
}

fn string(table: &DeTable<'_>, key: &str) -> Option<String> {
    Some(table.get(key)?.get_ref().as_str()?.to_owned())
}

fn list<T>(value: &DeValue<'_>, item: impl Fn(&DeValue<'_>) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(|value| item(value.get_ref())).collect()
}
