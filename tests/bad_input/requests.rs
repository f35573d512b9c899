//! What is asked wrongly: flags, and the files in which a person says what is wanted.

use super::*;

#[test]
fn flags_out_of_range() {
    let model = golden(MODEL);
    let model = model.to_str().expect("UTF-8");
    let run = |flags: &[&str], code, words: &[&str]| {
        refused(&[&["run", "-m", model][..], flags].concat(), code, words);
    };
    let cases: [(&[&str], &[&str]); 40] = [
        (&["-n", "0", "hi"], &["-n must be at least 1"]),
        (&["-n", "-2", "hi"], &["-n must be at least 1, or -1"]),
        (&["-n", "x", "hi"], &["invalid value 'x' for '--predict <N>'", "see 'stonechat run --help'"]),
        (&["--temp", "nan", "hi"], &["the temperature must be a finite number"]),
        (&["--temp", "inf", "hi"], &["the temperature must be a finite number"]),
        (&["--temp", "-1", "hi"], &["the temperature must be a finite number that is not negative"]),
        (&["--top-p", "1.5", "hi"], &["top-p must be between 0 and 1"]),
        (&["--min-p", "-0.5", "hi"], &["min-p must be between 0 and 1"]),
        (&["--repeat-penalty", "0", "hi"], &["the repeat penalty must be a positive number"]),
        (&["--xtc-probability", "2", "hi"], &["the probability of XTC must be between 0 and 1"]),
        (&["--samplers", "top_k;topq", "hi"], &["there is no sampler 'topq'; there are: penalties (e)"]),
        (&["--sampler-seq", "kz", "hi"], &["there is no sampler 'z'"]),
        (&["--mirostat", "1", "hi"], &["--mirostat must be 0 or 2"]),
        (&["--logit-bias", "5", "hi"], &["'5' is no bias; write a token's id"]),
        (&["--logit-bias", "5+nan", "hi"], &["the bias of a token must be a finite number or -inf"]),
        (&["--logit-bias", "512+1", "hi"], &["--logit-bias names the token 512, but the model has tokens 0"]),
        (
            &["--dry-multiplier", "1", "--dry-sequence-breaker", "", "hi"],
            &["a sequence breaker of DRY must be 1 to 40 bytes long"],
        ),
        (&["--logprobs", "3", "hi"], &["--json"]),
        (&["--chat-template-kwargs", "[1]", "hi"], &["it must be a JSON object"]),
        (&["--think", "-3", "hi"], &["unexpected argument '-3'"]),
        (&["--think", "3", "--raw", "hi"], &["'--think <N>' cannot be used with '--raw'"]),
        (&["--reasoning", "loud", "hi"], &["invalid value 'loud' for '--reasoning"]),
        (&["--samples", "0", "hi"], &["--samples must be at least 1"]),
        (&["--samples", "3", "hi"], &["--samples gives the same answer each time at temperature 0"]),
        (&["--samples", "3", "--lookup", "hi"], &["'--samples <N>' cannot be used with '--lookup'"]),
        (
            &["-c", "513", "hi"],
            &["a context of 513 tokens is longer than the model's 512; ask for at most that"],
        ),
        (&["-c", "0", "hi"], &["the context must be at least 1"]),
        (&["-b", "0", "hi"], &["the batch must be at least 1"]),
        (&["-t", "0", "hi"], &["-t must be at least 1"]),
        (&["-t", "9999", "hi"], &["-t 9999 is more than the 512 threads that can be"]),
        (&["--memory", "lots", "hi"], &["'lots' is no size", "write for instance 400M"]),
        (&["--kv", "f16,f16,f16", "hi"], &["--kv takes one format for keys and values, or two"]),
        (&["--kv", "q9", "hi"], &["invalid value 'q9' for '--kv", "possible values"]),
        (&["--cpu", "pentium", "hi"], &["no such CPU level; there are reference"]),
        (&["--ids", "1,x"], &["invalid value 'x' for '--ids"]),
        (&["--ids", "1", "-p", "hi"], &["cannot be used with"]),
        (&["hi", "-p", "hi"], &["cannot be used with"]),
        (&["--tmp", "1", "hi"], &["unexpected argument '--tmp'", "a similar argument exists: '--temp'"]),
        (&["-m"], &["a value is required for '--model", "see 'stonechat run --help'"]),
        (&[], &["there is no prompt; write one"]),
    ];
    for (flags, words) in cases {
        run(flags, 2, words);
    }
    run(&["--ids", "1,512"], 1, &["there is no token 512: the model has tokens 0 to 511"]);
    run(&["--memory", "1K", "hi"], 1, &["1024 bytes of memory are too few", "the least that would do is"]);
    run(
        &["-c", "8", "a prompt of more than eight"],
        1,
        &["the context of 8", "shorten it or ask for a longer"],
    );
    refused(&["rum", "hi"], 2, &["unrecognized subcommand 'rum'", "'run'", "see 'stonechat --help'"]);
    #[cfg(feature = "board")]
    refused(
        &["board", "--root", "/nonexistent"],
        2,
        &["/nonexistent has no folder proc", "copy /proc/cpuinfo"],
    );
    refused(&["inspect"], 2, &["not provided: <FILE>", "see 'stonechat inspect --help'"]);
    refused(&["perplexity", "-m", model, "-f", "no/text"], 1, &["there is no file no/text; check the path"]);
    refused(&["perplexity", "-m", model, "-f", model, "-c", "2"], 2, &["-c must be at least 4"]);
    refused(&["perplexity", "-m", model, "-f", model, "--chunks", "0"], 2, &["--chunks must be at least 1"]);
}

#[test]
fn a_plan_for_nobody() {
    let model = golden(MODEL);
    let model = model.to_str().expect("UTF-8");
    refused(&["plan", model, "--parallel", "0"], 2, &["--parallel must be at least 1"]);
}

#[cfg(feature = "chat")]
#[test]
fn tools_that_are_declared_wrongly() {
    let folder = Folder::new();
    let refused = |text: &str, words: &[&str]| {
        let path = folder.file("tools.toml", text.as_bytes());
        refused(&["chat", "--tools", &path], 1, &[&[&path[..]], words].concat());
    };
    refused("[[tools]]\nname = 3", &[", line 2: name: invalid type: integer `3`"]);
    refused("[[tools]]\nname = \"a\"\ncommand = []", &[", line 3: command: a command needs a program"]);
    refused("[[tools]]\nname = \"a\"", &[", line 1: missing field"]);
    refused("tools = []", &[": it declares no tool; add one that begins with [[tools]]"]);
    let chosen = "[[tools]]\nname = \"a\"\ndescription = \"\"\ncommand = [\"{b}\", \"c\"]\nparameters.properties.b = {}";
    refused(chosen, &[", line 4: command: which program the tool 'a' is must not be an argument"]);
    refused("[[tools]", &[", line 1: "]);
    self::refused(&["chat", "--tools", "no/tools.toml"], 1, &["there is no file no/tools.toml"]);
    self::refused(&["chat", "--yes"], 2, &["--tools <FILE>"]);
}

#[cfg(feature = "grammar")]
#[test]
fn grammars_with_mistakes_and_schemas_that_nothing_fits() {
    let model = golden(MODEL);
    let model = model.to_str().expect("UTF-8");
    let run = |flags: &[&str], code, words: &[&str]| {
        refused(&[&["run", "-m", model], flags, &["hi"]].concat(), code, words);
    };
    run(&["-j", "{\"type\": "], 1, &["the JSON schema has a mistake at line 1, column 9"]);
    run(&["-j", "{\"enum\": []}"], 1, &["the JSON schema cannot be used: unsatisfiable"]);
    run(&["-j", "no-such.json"], 1, &["no-such.json: No such file"]);
    run(&["-j", "no-such.json", "--regex", "a"], 2, &["cannot be used with"]);
    run(&["--regex", "a("], 1, &["the regular expression has a mistake at line 1, column 2"]);
    run(&["--regex", "a{300}", "-n", "3"], 1, &["the shortest answer", "has 300 tokens", "room for 3", "-n"]);
    run(
        &["--grammar", "root ::= \"a\" b"],
        1,
        &["the GBNF grammar has a mistake at line 1, column 14", "'b'"],
    );
    run(&["--grammar", "root ::= \"a\" root"], 1, &["the GBNF grammar cannot be used: no text"]);
    run(&["--regex", "a", "--json", "--logprobs", "1"], 2, &["cannot be used with"]);
    run(&["--regex", "a", "--samples", "2", "--temp", "1"], 2, &["cannot be used with"]);
    // What is nested or chained without end is no end of the program.
    let deep = format!("root ::= \"a\"{}", "?".repeat(100_000));
    run(
        &["--grammar", &deep],
        1,
        &["a mistake at line 1, column 10: this is repeated more than 20 times over"],
    );
    let chain: Vec<_> = (1..1000).map(|rule| format!("r{rule} ::= r{}\n", rule + 1)).collect();
    let folder = Folder::new();
    let chain =
        folder.file("chain.gbnf", format!("root ::= r1\n{}r1000 ::= \"a\"\n", chain.concat()).as_bytes());
    run(
        &["--grammar", &chain],
        1,
        &["chain.gbnf: the GBNF grammar has a mistake at line ", "rules are chained behind"],
    );
    let many: Vec<_> = (0..3000).map(|rule| format!("r{rule} ::= \"a\"\n")).collect();
    let many = folder.file("many.gbnf", many.concat().as_bytes());
    run(&["--grammar", &many], 1, &["line 2001, column 1: there are more than 2000 rules"]);
    refused(&["run", "-m", model, "--ids", "1,2,3", "--think", "3"], 2, &["--ids are used as they are"]);
}
