//! The golden vectors of the protocol, which Go, Python and Rust all read and write.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use msup::digest::EMPTY_ANSWER_DIGEST;
use msup::error::ErrorClass;
use msup::frame::{Direction, decode_frame};
use msup::id::{Address, InstanceId, Lineage, Step};
use msup::intent::Intent;
use msup::key::{KeyForm, Owner};
use msup::message::Message;
use msup::rng::Rng;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{Json, hex, unhex};

fn vectors() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../ipc/vectors")).to_owned()
}

fn read_json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The frames of a folder with the JSON beside them, by name.
fn frames(folder: &Path) -> Vec<(String, Vec<u8>, Value)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut frames: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let frame = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name, frame, read_json(&path.with_extension("json")))
        })
        .collect();
    frames.sort_by(|a, b| a.0.cmp(&b.0));
    frames
}

fn direction(file: &Value) -> Direction {
    let from = file["from"].as_str().expect("from");
    [
        Direction::FromAnyone,
        Direction::FromRunner,
        Direction::FromSupervisor,
        Direction::FromM,
        Direction::FromPeer,
    ]
    .into_iter()
    .find(|direction| direction.to_string() == from)
    .unwrap_or_else(|| panic!("no direction is named {from:?}"))
}

/// Takes the one message of a vector, as a session would: a stream that ends inside a frame is cut off.
fn read(frame: &[u8], from: Direction) -> Result<(Message, usize), (ErrorClass, String)> {
    match decode_frame(frame, from) {
        Ok(Some(read)) => Ok(read),
        Ok(None) => Err((
            ErrorClass::Truncated,
            "the stream ends inside the frame".to_owned(),
        )),
        Err(error) => Err((error.class(), error.to_string())),
    }
}

// Proves: BC-F, NN-5, EV-1, DM-3, DM-4
#[test]
fn valid_vectors_are_read_and_written_alike() {
    let (mut types, mut kinds, mut intents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let all = frames(&vectors());
    for (name, frame, file) in &all {
        let read = read(frame, direction(file));
        let (message, taken) = read.unwrap_or_else(|(_, error)| panic!("{name}: {error}"));
        assert_eq!(taken, frame.len(), "{name}");
        assert_eq!(message.json(), file["message"], "{name}");
        let written = message
            .encode_frame()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if file["reencode"].as_bool().expect("reencode") {
            assert_eq!(hex(&written), hex(frame), "{name}");
        } else {
            assert_ne!(hex(&written), hex(frame), "{name} is canonical after all");
            let again = decode_frame(&written, direction(file));
            assert_eq!(again, Ok(Some((message.clone(), written.len()))), "{name}");
        }
        types.insert(message.kind().as_str());
        if let Message::Deliver(deliver) = &message {
            kinds.insert(deliver.event.kind().as_str());
        }
        if let Message::Answer(answer) = &message {
            intents.extend(answer.intents.iter().map(|intent| intent.kind().as_str()));
        }
    }
    assert!(all.len() >= 80, "only {} vectors", all.len());
    assert_eq!(
        (types.len(), kinds.len(), intents.len()),
        (26, 21, 7),
        "{types:?} {kinds:?} {intents:?}"
    );
}

// Proves: BC-F, NN-5
#[test]
fn invalid_vectors_are_refused_for_their_cause() {
    let all = frames(&vectors().join("invalid"));
    let mut wrong = Vec::new();
    for (name, frame, file) in &all {
        let expected = file["error"].as_str().expect("error");
        match read(frame, direction(file)) {
            Ok((message, _)) => wrong.push(format!("{name}: read as {message:?}, not refused as {expected}")),
            Err((class, error)) if class.as_str() != expected => {
                wrong.push(format!("{name}: not refused as {expected}: {error}"));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.len() >= 80, "only {} vectors", all.len());
}

fn list(name: &str) -> Vec<Value> {
    let Value::Array(list) = read_json(&vectors().join(name)) else {
        panic!("{name} is no list");
    };
    assert!(list.len() >= 12, "{name}: only {} entries", list.len());
    list
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} is no string in {entry}"))
}

/// A number that is left out of the file where it is 0.
fn number(entry: &Value, field: &str) -> u64 {
    entry.get(field).map_or(0, |value| {
        value.as_u64().unwrap_or_else(|| panic!("{field} in {entry}"))
    })
}

// Proves: GT-5
#[test]
fn keys_follow_the_rule() {
    for entry in list("key.json") {
        let owner = Owner {
            address: Address {
                bot: text(&entry, "bot").into(),
                strategy: text(&entry, "strategy").into(),
                instance: text(&entry, "instance").into(),
            },
            lineage: Lineage(unhex(text(&entry, "lineage")).try_into().expect("16 bytes")),
        };
        let ordinal = u32::try_from(number(&entry, "ordinal")).expect("an ordinal");
        let form = match text(&entry, "form") {
            "M" => KeyForm::Obligation {
                obligation: number(&entry, "obligation_no"),
                attempt: number(&entry, "attempt"),
                ordinal,
            },
            "N" => KeyForm::of_intent(Step(1), 0, text(&entry, "name")),
            "S" => KeyForm::of_intent(Step(number(&entry, "step")), ordinal, ""),
            other => panic!("form {other:?}"),
        };
        let key = match entry.get("shadow_no") {
            Some(shadow) => owner.shadow_key(shadow.as_u64().expect("a number"), form),
            None => owner.key(form),
        };
        let key = key.expect("short texts");
        assert_eq!(key.as_str(), text(&entry, "key"), "{entry}");
        assert_eq!(
            key.as_str(),
            &hex(&Sha256::digest(unhex(text(&entry, "msgpack"))))[..32],
            "{entry}"
        );
        assert!(key.is_valid());
    }
}

// Proves: RS-2, GT-5
#[test]
fn digests_follow_the_rule() {
    for entry in list("digest.json") {
        let bytes = unhex(text(&entry, "msgpack"));
        let digest = match text(&entry, "kind") {
            "intent" => Intent::decode(&bytes).expect("an intent").digest(),
            "answer" => match Message::decode(&bytes, Direction::FromRunner).expect("a message") {
                Message::Answer(answer) => {
                    assert_eq!(
                        answer.digest() == Ok(EMPTY_ANSWER_DIGEST),
                        answer.is_empty(),
                        "{entry}"
                    );
                    answer.digest()
                }
                other => panic!("{other:?} is no answer"),
            },
            other => panic!("kind {other:?}"),
        };
        let digest = digest.expect("what was read can be summed").to_string();
        assert_eq!(digest, text(&entry, "digest"), "{entry}");
        assert_eq!(
            digest,
            hex(&Sha256::digest(unhex(text(&entry, "summed")))),
            "{entry}"
        );
    }
}

// Proves: RS-2
#[test]
fn random_numbers_are_the_golden_ones() {
    for entry in list("rng.json") {
        let instance = InstanceId::from(text(&entry, "instance"));
        let fresh = || {
            Rng::new(
                number(&entry, "run_seed"),
                &instance,
                Step(number(&entry, "step")),
            )
            .expect("a short id")
        };
        let mut rng = fresh();
        for expected in entry["u64"].as_array().expect("u64") {
            assert_eq!(Some(rng.next_u64()), expected.as_u64(), "{entry}");
        }
        let mut rng = fresh();
        for expected in entry["floats"].as_array().expect("floats") {
            assert_eq!(Some(rng.random()), expected.as_f64(), "{entry}");
        }
    }
}
