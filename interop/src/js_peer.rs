//! A JavaScript peer: node running `js/peer.js`, asked by JSON lines.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::lab::Namespace;
use crate::{Blocks, CoreInfo, CoreSpec, Peer, Process, Until};

/// An unmodified JavaScript Hypercore program at the other end of a pipe.
#[derive(Debug)]
pub struct JsPeer {
    process: Process,
    asked: u64,
    events: Vec<Value>,
}

impl JsPeer {
    /// Returns why no JavaScript peer can be started here, if that is so.
    pub fn missing() -> Option<String> {
        let node = Command::new("node").arg("--version").output();
        if !node.is_ok_and(|output| output.status.success()) {
            return Some("node is not installed".to_owned());
        }
        let modules = js_folder().join("node_modules/hypercore/package.json");
        (!modules.exists()).then(|| "the npm packages are not installed: run `npm ci` in interop/js".to_owned())
    }

    /// Starts a peer whose store is in `folder` (created when missing). Errors name it after the folder.
    pub fn spawn(folder: &Path) -> Result<Self> {
        Self::spawn_by(folder, Command::new("node"))
    }

    /// Starts one in a network of its own.
    pub fn spawn_in(network: &Namespace, folder: &Path) -> Result<Self> {
        Self::spawn_by(folder, network.command("node"))
    }

    fn spawn_by(folder: &Path, mut node: Command) -> Result<Self> {
        if let Some(reason) = Self::missing() {
            bail!(reason);
        }
        let name = format!("the JavaScript peer {:?}", folder.file_name().unwrap_or_default());
        let process = Process::spawn(&name, node.arg(js_folder().join("peer.js")).arg(folder))?;
        Ok(Self { process, asked: 0, events: Vec::new() })
    }

    /// Sends a command and returns its answer; `fields` is an object. The verbs are documented in `js/`.
    pub fn ask(&mut self, verb: &str, fields: Value) -> Result<Value> {
        let id = self.begin(verb, fields)?;
        self.finish(id)
    }

    /// Sends a command without waiting; [`JsPeer::finish`] takes what this returns.
    pub fn begin(&mut self, verb: &str, fields: Value) -> Result<u64> {
        self.asked += 1;
        let mut command = json!({ "id": self.asked, "do": verb });
        if let (Some(command), Value::Object(fields)) = (command.as_object_mut(), fields) {
            command.extend(fields);
        }
        self.process.send(&command.to_string())?;
        Ok(self.asked)
    }

    /// Waits for the answer to a command begun earlier. Answers may be awaited in any order, each once.
    pub fn finish(&mut self, id: u64) -> Result<Value> {
        let mine = |line: &Value| line["id"] == id;
        let mut answer = match self.events.iter().position(mine) {
            Some(position) => self.events.remove(position),
            None => self.read_until(mine)?,
        };
        match answer.get("error") {
            Some(error) => Err(anyhow!("the JavaScript peer answers: {error} ({})", answer["code"])),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Waits for an event that holds all of `fields`, and forgets it and everything that came before it.
    pub fn wait_event(&mut self, event: &str, fields: &Value) -> Result<Value> {
        let wanted = |line: &Value| {
            line["event"] == event
                && fields.as_object().is_none_or(|fields| fields.iter().all(|(key, value)| &line[key] == value))
        };
        if let Some(position) = self.events.iter().position(wanted) {
            let event = self.events.remove(position);
            self.events.drain(..position);
            return Ok(event);
        }
        self.read_until(wanted)
    }

    /// Kills it at once, as SIGKILL does.
    pub fn kill(mut self) {
        self.process.kill();
    }

    fn read_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let Some(line) = self.process.line()? else {
                drop(self.process.wait());
                return Err(self.process.failure("ended without an answer"));
            };
            let line: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
            if wanted(&line) {
                return Ok(line);
            }
            self.events.push(line);
        }
    }

    pub(crate) fn call<T: DeserializeOwned>(&mut self, verb: &str, fields: Value) -> Result<T> {
        let answer = self.ask(verb, fields)?;
        Ok(serde_json::from_value(answer)?)
    }

    /// Asks about a core or a bee, with the fields of `object` beside the handle.
    fn call_with<T: DeserializeOwned>(
        &mut self,
        verb: &str,
        handle: &str,
        object: &impl serde::Serialize,
    ) -> Result<T> {
        let mut fields = match serde_json::to_value(object)? {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let noun = verb.split('.').next().unwrap_or(verb);
        fields.insert(noun.to_owned(), handle.into());
        self.call(verb, Value::Object(fields))
    }
}

impl Peer for JsPeer {
    fn listen(&mut self, core: Option<&str>) -> Result<u16> {
        let answer = self.ask("listen", core.map_or_else(|| json!({}), |core| json!({ "core": core })))?;
        answer["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("no port")
    }

    fn dial(&mut self, port: u16, core: Option<&str>) -> Result<()> {
        let fields = core.map_or_else(|| json!({ "port": port }), |core| json!({ "port": port, "core": core }));
        self.ask("dial", fields).map(drop)
    }

    fn disconnect(&mut self) -> Result<()> {
        self.ask("disconnect", json!({})).map(drop)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.ask("close", json!({}))?;
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(self.process.failure(&format!("ended with {status}"))) }
    }

    fn open(&mut self, core: &str, spec: &CoreSpec) -> Result<CoreInfo> {
        self.call_with("core.open", core, spec)
    }

    fn info(&mut self, core: &str) -> Result<CoreInfo> {
        self.call("core.info", json!({ "core": core }))
    }

    fn append(&mut self, core: &str, run: &Blocks, signers: &[&str]) -> Result<CoreInfo> {
        let mut fields = serde_json::to_value(run)?;
        fields["core"] = core.into();
        if !signers.is_empty() {
            fields["signers"] = json!(signers);
        }
        self.call("core.append", fields)
    }

    fn truncate(&mut self, core: &str, length: u64, fork: u64) -> Result<CoreInfo> {
        self.call("core.truncate", json!({ "core": core, "length": length, "fork": fork }))
    }

    fn clear(&mut self, core: &str, start: u64, end: u64) -> Result<()> {
        self.ask("core.clear", json!({ "core": core, "start": start, "end": end })).map(drop)
    }

    fn download(&mut self, core: &str, start: u64, end: u64) -> Result<()> {
        self.ask("core.download", json!({ "core": core, "start": start, "end": end })).map(drop)
    }

    fn follow(&mut self, core: &str) -> Result<()> {
        self.ask("core.follow", json!({ "core": core })).map(drop)
    }

    fn held(&mut self, core: &str) -> Result<Vec<(u64, u64)>> {
        let mut answer = self.ask("core.has", json!({ "core": core }))?;
        Ok(serde_json::from_value(answer["held"].take())?)
    }

    fn check(&mut self, core: &str, run: &Blocks) -> Result<()> {
        self.call_with::<Value>("core.check", core, run).map(drop)
    }

    fn seek(&mut self, core: &str, byte: u64) -> Result<(u64, u64)> {
        self.call("core.seek", json!({ "core": core, "byte": byte }))
    }

    fn fetch_now(&mut self, core: &str, index: u64) -> Result<()> {
        self.ask("core.get", json!({ "core": core, "index": index })).map(drop)
    }

    fn allow_push(&mut self, core: &str) -> Result<()> {
        self.ask("core.allowPush", json!({ "core": core, "allow": true })).map(drop)
    }

    fn push(&mut self, core: &str, index: u64) -> Result<()> {
        self.ask("core.push", json!({ "core": core, "index": index })).map(drop)
    }

    fn hear(&mut self, core: &str, name: &str) -> Result<()> {
        self.ask("core.hear", json!({ "core": core, "name": name })).map(drop)
    }

    fn say(&mut self, core: &str, name: &str, text: &str) -> Result<()> {
        self.ask("core.say", json!({ "core": core, "name": name, "text": text })).map(drop)
    }

    fn heard(&mut self, core: &str) -> Result<(String, String)> {
        let event = self.wait_event("extension", &json!({ "core": core }))?;
        let text = |field: &str| event[field].as_str().map(str::to_owned).context("no text");
        Ok((text("name")?, text("text")?))
    }

    fn wait(&mut self, core: &str, until: Until) -> Result<CoreInfo> {
        self.call_with("core.wait", core, &until)
    }

    fn bee_open(&mut self, bee: &str, spec: &CoreSpec) -> Result<CoreInfo> {
        self.call_with("bee.open", bee, spec)
    }

    fn bee_batch(&mut self, bee: &str, changes: &[(String, Option<Value>)]) -> Result<u64> {
        let operation = |(key, value): &(String, Option<Value>)| match value {
            Some(value) => json!([key, value]),
            None => json!([key]),
        };
        let ops: Vec<Value> = changes.iter().map(operation).collect();
        let answer = self.ask("bee.batch", json!({ "bee": bee, "ops": ops }))?;
        answer["version"].as_u64().context("no version")
    }

    fn bee_get(&mut self, bee: &str, key: &str) -> Result<Option<Value>> {
        let mut answer = self.ask("bee.get", json!({ "bee": bee, "key": key }))?;
        Ok(answer.get_mut("value").map(Value::take))
    }

    fn bee_list(&mut self, bee: &str, version: Option<u64>) -> Result<Vec<(String, Value)>> {
        let fields = version.map_or_else(|| json!({ "bee": bee }), |version| json!({ "bee": bee, "version": version }));
        self.call("bee.list", fields)
    }
}

fn js_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("js")
}
