//! Logits and greedy tokens against those of other implementations, in `tests/golden` and in the folder that
//! `STONECHAT_GOLDEN` names.

mod common;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// How far an f32 logit may be from that of transformers: both round, in different orders.
const TOLERANCE: f64 = 2e-4;
/// What runs so far.
const LLAMAS: [&str; 6] =
    ["llama", "llama_tied_rope3", "llama_rope_yarn", "llama_rope_linear", "llama_bias", "llama_head_dim"];

fn stonechat(arguments: &[&str], model: &Path) -> String {
    let mut command = common::stonechat();
    let output = command.args(arguments).arg("-m").arg(model).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn ids(list: &Value) -> String {
    let ids: Vec<String> = list.as_array().expect("ids").iter().map(Value::to_string).collect();
    ids.join(",")
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().expect("floats").iter().map(|x| x.as_f64().expect("a float")).collect()
}

fn argmax(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The models that a folder has, of those that run.
fn check(folder: &Path) -> usize {
    let mut checked = 0;
    for name in LLAMAS {
        let model = folder.join(name).join(format!("{name}-f32.gguf"));
        if !model.exists() {
            continue;
        }
        let text = std::fs::read_to_string(folder.join(name).join(format!("{name}.json"))).expect("a golden");
        let golden: Value = serde_json::from_str(&text).expect("JSON");
        let prompt = ids(&golden["prompt"]);
        let exact = ["--activations", "f32", "--ids", &prompt];
        let logits = stonechat(&[&["logits", "--json", "--all"][..], &exact].concat(), &model);
        let logits: Value = serde_json::from_str(&logits).expect("JSON");
        let rows: Vec<Vec<f64>> = logits["logits"].as_array().expect("rows").iter().map(floats).collect();
        let expected = floats(&golden["logits_last_hf"]);
        let last = rows.last().expect("a row");
        let off = last.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(last.len() == expected.len() && off <= TOLERANCE, "{name}: the last logits are off by {off}");
        let found: Vec<Value> = rows.iter().map(|row| argmax(row).into()).collect();
        assert_eq!(
            &Value::from(found),
            &golden["argmax_per_pos_hf"],
            "{name}: the best token of each position"
        );
        let greedy = stonechat(&[&["run", "--print-ids", "-n", "16"][..], &exact].concat(), &model);
        assert_eq!(greedy, ids(&golden["greedy_hf"]), "{name}: greedy tokens");
        checked += 1;
    }
    checked
}

#[test]
fn our_own_goldens_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models");
    assert_eq!(check(&folder), LLAMAS.len());
}

#[test]
fn the_goldens_of_the_named_folder_hold() {
    let Some(folder) = std::env::var_os("STONECHAT_GOLDEN").map(PathBuf::from) else {
        println!("STONECHAT_GOLDEN names no folder: only the goldens of this repository were asked for");
        return;
    };
    assert!(check(&folder.join("models")) >= 3, "{} has the llama goldens", folder.display());
}
