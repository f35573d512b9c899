use super::*;

fn read(text: &str) -> Result<Config, Mistake> {
    Source { file: Path::new("assistant.toml"), text }.config(Some(80.0))
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let said = read(text).expect_err("a mistake").to_string();
    assert!(said.contains(expected), "there is no '{expected}' in\n{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn an_empty_file_is_a_board_without_hardware() {
    let config = read("").unwrap();
    assert!(config.button.is_none() && config.display.is_none() && config.serial.is_none());
    assert!(config.leds.all().iter().all(|(_, led)| led.is_none()));
    assert_eq!((*config.batch.get_ref(), *config.answer.get_ref()), (32, 256));
}

#[test]
fn what_is_wired_is_read() {
    let config = read(
        "questions = [\"Why?\"]\n[button]\nline = 17\nactive = \"low\"\n[leds]\nactive = \"high\"\nidle = 22\nerror = 23\n\
         [display]\nbus = \"/dev/i2c-1\"\naddress = 0x3d\nupside_down = true\n[serial]\nport = \"/dev/serial0\"\n\
         [[sensor]]\nname = \"the supply\"\nunit = \"V\"\nfile = \"/sys/class/hwmon/hwmon1/in0_input\"\n\
         limits = { well = 4.9, slow = 4.8, pause = 4.7 }\n",
    )
    .unwrap();
    let button = config.button.unwrap();
    assert_eq!((*button.line.get_ref(), button.active), (17, Active::Low));
    assert_eq!(button.chip, Path::new("/dev/gpiochip0"));
    assert_eq!(config.leds.error.map(Spanned::into_inner), Some(23));
    assert_eq!(*config.display.unwrap().address.get_ref(), 0x3d);
    let limits = config.sensors[0].limits.get_ref().in_thousandths();
    assert_eq!((limits.well, limits.slow, limits.pause), (4900, 4800, 4700));
}

#[test]
fn a_mistake_is_told_with_line_and_key() {
    refused(
        "[button]\nlinee = 17\nactive = \"low\"\n",
        "assistant.toml, line 2, button.linee: unknown field `linee`",
    );
    refused(
        "[button]\nline = \"17\"\nactive = \"low\"\n",
        "line 2, button.line: invalid type: string \"17\"",
    );
    refused("[button]\nline = -1\nactive = \"low\"\n", "line 2, button.line: ");
    refused("[button]\nline = 17\n", "missing field `active`");
    refused(
        "# wiring\n\n[button]\nline = 17\nactive = \"up\"\n",
        "line 5, button.active: unknown variant `up`",
    );
    refused("model = \"tiny\"\n[buton]\nline = 1\n", "line 2, buton: unknown field `buton`");
    refused("model = tiny\n", "line 1, model: ");
    refused("model = \"a\"\nmodel = \"b\"\n", "line 2, model: ");
    refused("questions = [\n  \"Why?\",\n  7,\n]\n", "line 3, questions: invalid type: integer `7`");
}

#[test]
fn a_line_that_is_two_things_is_told_with_both() {
    refused(
        "[button]\nline = 17\nactive = \"low\"\n\n[leds]\nidle = 22\nspeaking = 17\n",
        "line 7, leds.speaking: line 17 of /dev/gpiochip0 is button.line already, in line 2 of this file",
    );
    refused(
        "[leds]\nidle = 5\nerror = 5\n",
        "line 3, leds.error: line 5 of /dev/gpiochip0 is leds.idle already",
    );
    // Of another chip it is another line.
    read("[button]\nchip = \"/dev/gpiochip4\"\nline = 17\nactive = \"low\"\n[leds]\nidle = 17\n").unwrap();
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    refused("batch = 0\n", "line 1, batch: must be at least 1");
    refused("threads = 0\n", "line 1, threads: must be from 1 to 512");
    refused("threads_batch = 1000\n", "line 1, threads_batch: must be from 1 to 512");
    refused("temperature = -0.5\n", "line 1, temperature: must be 0 or more");
    refused("temperature = nan\n", "line 1, temperature: must be 0 or more");
    refused("context = 100\nanswer = 100\n", "line 2, answer: 100 tokens of an answer leave no room");
    refused(
        "[display]\nbus = \"/dev/i2c-1\"\naddress = 0x80\n",
        "line 3, display.address: 0x80 is no address",
    );
    refused("[display]\nbus = \"/dev/i2c-1\"\naddress = 300\n", "line 3, display.address: ");
    let limits = |well, slow, pause| {
        format!("temperature_limits = {{ well = {well}, slow = {slow}, pause = {pause} }}\n")
    };
    refused(&limits(70, 60, 75), "line 1, temperature_limits: well, slow and pause must rise or fall");
    refused(&limits(80, 85, 90), "slow is 85 °C, but from 80 °C on the board slows itself down");
    read(&limits(65, 70, 75)).unwrap();
}

/// What the packages of all boards bring.
#[test]
fn the_configurations_of_all_boards_are_right() {
    for profile in stonechat_runtime::board::Profile::ALL {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(profile.name).join("assistant.toml");
        let text = std::fs::read_to_string(&file).expect("a file beside the board's crate");
        let config = Source { file: &file, text: &text }.config(Some(profile.slows_at));
        let config = config.unwrap_or_else(|mistake| panic!("{mistake}"));
        assert!(config.button.is_some() && config.display.is_some() && !config.questions.is_empty());
    }
}
