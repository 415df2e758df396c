//! What `msup build` wants to know of a strategy (DM-1): the same JSON document that the Python SDK prints.
//!
//! ```text
//! {"abi": 1, "config_schema": {"fast": {"apply": "bar", "default": 12, "max": 500, "min": 1, "required": false,
//!  "type": "int", "unit": "bars"}}, "entry": "", "hooks": ["on_config"], "name": "EmaCross", "sdk": "rust",
//!  "sdk_version": "…", "state_schema_version": 1}
//! ```
//!
//! `min`, `max`, `choices` and `default` of a decimal are strings; what is not set is left out, `type`, `required` and `apply`
//! never are.

use crate::config::{Config, ConfigField};
use crate::json::Json;
use crate::message::ABI_VERSION;
use crate::session::{SDK_NAME, SDK_VERSION};
use crate::state::State;
use crate::strategy::Strategy;

/// The description of a strategy as JSON.
pub fn describe<S: Strategy>() -> String {
    /// A member of the document.
    enum Member {
        Number(u32),
        Text(&'static str),
        Schema,
        Hooks,
    }
    let name = std::any::type_name::<S>();
    let name = name.rsplit("::").next().unwrap_or(name);
    let members = [
        ("abi", Member::Number(ABI_VERSION)),
        ("config_schema", Member::Schema),
        ("entry", Member::Text("")),
        ("hooks", Member::Hooks),
        ("name", Member::Text(name)),
        ("sdk", Member::Text(SDK_NAME)),
        ("sdk_version", Member::Text(SDK_VERSION)),
        ("state_schema_version", Member::Number(S::State::VERSION)),
    ];
    let mut json = Json::default();
    json.object(members, |json, member| match member {
        Member::Number(number) => json.raw(&number.to_string()),
        Member::Text(text) => json.text(text),
        Member::Hooks => json.list(S::HOOKS, |json, hook| json.text(hook)),
        Member::Schema => put_schema(json, &S::Config::fields()),
    });
    json.into_text()
}

/// The config schema of a configuration as JSON: name → type, constraints, default (DM-1).
pub fn config_schema<C: Config>() -> String {
    let mut json = Json::default();
    put_schema(&mut json, &C::fields());
    json.into_text()
}

fn put_schema(json: &mut Json, fields: &[ConfigField]) {
    json.object(fields.iter().map(|field| (field.name, field)), |json, field| {
        field.write_json(json);
    });
}
