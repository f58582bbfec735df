//! `docs/api.md` is written from the contract, comments and all.

use std::collections::HashMap;
use std::fmt::Write;

use pluton_fichier::proto::{DESCRIPTORS, PACKAGE};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, ServiceDescriptorProto,
};

const HEAD: &str = "\
# The service `pluton.storage.v1.StorageBackend`

Written from [`proto/pluton/storage/v1`](../proto/pluton/storage/v1) by a test; `UPDATE_DOCS=1 cargo test --test it reference` writes
it anew. `optional` fields tell apart what is absent and what is zero; of the fields of a `oneof` one is present.
";

/// The numbers by which descriptors name their parts.
const SERVICE: i32 = 6;
const MESSAGE: i32 = 4;
const ENUM: i32 = 5;
const PART: i32 = 2;

struct Page<'a> {
    comments: HashMap<&'a [i32], &'a str>,
    text: String,
}

impl Page<'_> {
    /// The comment before a part, its lines joined.
    fn comment(&self, path: &[i32]) -> String {
        let comment = self
            .comments
            .get(path)
            .unwrap_or_else(|| panic!("{path:?}"));
        let paragraphs = comment.trim().split("\n\n");
        let joined = paragraphs.map(|paragraph| {
            let lines: Vec<_> = paragraph.lines().map(str::trim).collect();
            // An empty line of a comment is one blank.
            lines.join(" ").replace("  ", "\n\n")
        });
        joined.collect::<Vec<_>>().join("\n\n")
    }

    /// The same for a cell of a table.
    fn cell(&self, path: &[i32]) -> String {
        let text = self.comment(path).replace("\n\n", " ");
        text.replace('|', "\\|").replace('<', "&lt;")
    }

    fn line(&mut self, text: impl AsRef<str>) {
        writeln!(self.text, "{}", text.as_ref()).unwrap();
    }

    fn service(&mut self, service: &ServiceDescriptorProto, at: i32) {
        self.line(format!("\n{}\n\n## Calls", self.comment(&[SERVICE, at])));
        for (place, method) in (0..).zip(&service.method) {
            let stream = |on: Option<bool>| if on == Some(true) { "stream " } else { "" };
            let (input, output) = (short(method.input_type()), short(method.output_type()));
            self.line(format!(
                "\n### {}\n\n{}[{input}](#{}) → {}[{output}](#{})\n\n{}",
                method.name(),
                stream(method.client_streaming),
                input.to_lowercase(),
                stream(method.server_streaming),
                output.to_lowercase(),
                self.comment(&[SERVICE, at, PART, place]),
            ));
        }
    }

    fn message(&mut self, message: &DescriptorProto, at: i32) {
        let comment = self.comment(&[MESSAGE, at]);
        self.line(format!("\n### {}\n\n{comment}", message.name()));
        if message.field.is_empty() {
            return;
        }
        self.line("\n| | field | type | meaning |\n|---|---|---|---|");
        for (place, field) in (0..).zip(&message.field) {
            let meaning = self.cell(&[MESSAGE, at, PART, place]);
            let (number, name) = (field.number(), field.name());
            let kind = kind(field, message);
            self.line(format!("| {number} | `{name}` | {kind} | {meaning} |"));
        }
    }

    fn enumeration(&mut self, one: &EnumDescriptorProto, at: i32) {
        let comment = self.comment(&[ENUM, at]);
        self.line(format!("\n### {}\n\n{comment}", one.name()));
        self.line("\n| | value | meaning |\n|---|---|---|");
        for (place, value) in (0..).zip(&one.value) {
            let meaning = self.cell(&[ENUM, at, PART, place]);
            self.line(format!(
                "| {} | `{}` | {meaning} |",
                value.number(),
                value.name()
            ));
        }
    }
}

/// The last part of a name.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap()
}

fn kind(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let name = short(field.type_name());
    let entry = message
        .nested_type
        .iter()
        .find(|entry| entry.name() == name);
    if let Some(entry) = entry {
        let [key, value] = [0, 1].map(|at| kind(&entry.field[at], entry));
        return format!("map of {key} to {value}");
    }
    let base = match field.r#type() {
        Type::Message | Type::Enum if field.type_name().contains(PACKAGE) => {
            format!("[{name}](#{})", name.to_lowercase())
        }
        Type::Message | Type::Enum => name.to_owned(),
        other => other
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    };
    match field {
        _ if field.label() == Label::Repeated => format!("repeated {base}"),
        _ if field.proto3_optional() => format!("optional {base}"),
        FieldDescriptorProto {
            oneof_index: Some(at),
            ..
        } => {
            let oneof = &message.oneof_decl[usize::try_from(*at).unwrap()];
            format!("{base}, oneof `{}`", oneof.name())
        }
        _ => base,
    }
}

fn page() -> String {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut files: Vec<&FileDescriptorProto> = set.file.iter().collect();
    files.retain(|file| file.package() == PACKAGE);
    // The service first.
    files.sort_by_key(|file| (file.service.is_empty(), file.name().contains("error")));
    let mut text = HEAD.to_owned();
    for file in files {
        let info = file.source_code_info.as_ref().unwrap();
        let comments = info.location.iter();
        let mut page = Page {
            comments: comments
                .map(|at| (&at.path[..], at.leading_comments()))
                .collect(),
            text,
        };
        for (at, service) in (0..).zip(&file.service) {
            page.service(service, at);
        }
        page.line(format!(
            "\n## {}",
            short(file.name().trim_end_matches(".proto"))
                .rsplit('/')
                .next()
                .unwrap()
        ));
        for (at, message) in (0..).zip(&file.message_type) {
            page.message(message, at);
        }
        for (at, one) in (0..).zip(&file.enum_type) {
            page.enumeration(one, at);
        }
        text = page.text;
    }
    text
}

#[test]
fn the_reference_of_the_api_is_what_the_contract_says() {
    let page = page();
    // So that a generator that finds nothing does not pass with an empty page.
    for part in [
        "### MoveDir\n",
        "### PutHeader\n",
        "`ERROR_REASON_EMPTY_FILE`",
        "map of string to string",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, &page).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        written == page,
        "docs/api.md is not what the contract says; run: UPDATE_DOCS=1 cargo test --test it reference"
    );
}
