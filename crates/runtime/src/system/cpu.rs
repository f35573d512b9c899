//! Which CPU this is.

use super::{Root, field};

/// The CPU as the system names it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cpu {
    /// Its name: `AMD EPYC 9R14`, or on ARM its cores: `4 x Cortex-A76`.
    pub name: Option<String>,
    /// The board, where a device tree names it: `Raspberry Pi 5 Model B Rev 1.0`.
    pub board: Option<String>,
    /// The instruction set extensions that matter for arithmetic, as the kernel names them, with blanks between.
    pub features: Option<String>,
    /// The CPUs that are switched on.
    pub count: Option<usize>,
}

impl Cpu {
    /// Asks the system.
    pub fn detect() -> Self {
        Self::read(&Root::default())
    }

    pub(crate) fn read(root: &Root) -> Self {
        let info = root.text("proc/cpuinfo").unwrap_or_default();
        let count = info.lines().filter(|line| line.starts_with("processor")).count();
        Self {
            name: field(&info, "model name").filter(|name| !name.is_empty()).map_or_else(
                || arm_cores(&info),
                |name| Some(name.split_whitespace().collect::<Vec<_>>().join(" ")),
            ),
            board: root.text("proc/device-tree/model"),
            features: field(&info, "flags").or_else(|| field(&info, "Features")).map(arithmetic),
            count: (count > 0).then_some(count),
        }
    }
}

/// Extensions for vectors, integers and low precision; kernels list a hundred others.
fn arithmetic(flags: &str) -> String {
    let matters = |flag: &&str| {
        ["avx", "amx", "fma", "f16c", "sse4", "ssse3", "asimd", "sve", "sme", "i8mm", "bf16", "fphp"]
            .iter()
            .any(|prefix| flag.starts_with(prefix))
    };
    flags.split_whitespace().filter(matters).collect::<Vec<_>>().join(" ")
}

/// ARM's kernels print the maker and the part of each core: big and little ones differ.
fn arm_cores(info: &str) -> Option<String> {
    let mut cores: Vec<(String, usize)> = Vec::new();
    let mut maker = "";
    for line in info.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        match key.trim() {
            "CPU implementer" => maker = value.trim(),
            "CPU part" => {
                let part = value.trim();
                let known = PARTS.iter().find(|(m, p, _)| *m == maker && *p == part);
                let name = known
                    .map_or_else(|| format!("core {part} of maker {maker}"), |(_, _, name)| (*name).into());
                match cores.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, count)) => *count += 1,
                    None => cores.push((name, 1)),
                }
            }
            _ => {}
        }
    }
    let texts: Vec<_> = cores.into_iter().map(|(name, count)| format!("{count} x {name}")).collect();
    (!texts.is_empty()).then(|| texts.join(" + "))
}

/// The main id register's maker and part numbers. Source: Linux, `arch/arm64/include/asm/cputype.h`.
const PARTS: [(&str, &str, &str); 20] = [
    ("0x41", "0xd03", "Cortex-A53"),
    ("0x41", "0xd04", "Cortex-A35"),
    ("0x41", "0xd05", "Cortex-A55"),
    ("0x41", "0xd07", "Cortex-A57"),
    ("0x41", "0xd08", "Cortex-A72"),
    ("0x41", "0xd09", "Cortex-A73"),
    ("0x41", "0xd0a", "Cortex-A75"),
    ("0x41", "0xd0b", "Cortex-A76"),
    ("0x41", "0xd0c", "Neoverse-N1"),
    ("0x41", "0xd0d", "Cortex-A77"),
    ("0x41", "0xd40", "Neoverse-V1"),
    ("0x41", "0xd41", "Cortex-A78"),
    ("0x41", "0xd44", "Cortex-X1"),
    ("0x41", "0xd46", "Cortex-A510"),
    ("0x41", "0xd47", "Cortex-A710"),
    ("0x41", "0xd48", "Cortex-X2"),
    ("0x41", "0xd49", "Neoverse-N2"),
    ("0x41", "0xd4f", "Neoverse-V2"),
    ("0x41", "0xd80", "Cortex-A520"),
    ("0x41", "0xd81", "Cortex-A720"),
];

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn an_x86_cpu_has_a_name_and_features() {
        let info = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD  EPYC\nflags\t\t: fpu avx2 fma rdpid avx512_vnni\n\n\
                    processor\t: 1\nmodel name\t: AMD  EPYC\nflags\t\t: fpu avx2 fma rdpid avx512_vnni\n";
        let (_folder, root) = tree(&[("proc/cpuinfo", info)]);
        let cpu = Cpu::read(&root);
        assert_eq!(cpu.name.as_deref(), Some("AMD EPYC"));
        assert_eq!(cpu.features.as_deref(), Some("avx2 fma avx512_vnni"));
        assert_eq!((cpu.count, cpu.board), (Some(2), None));
    }

    #[test]
    fn arm_cores_are_counted_by_kind_and_the_board_is_named() {
        let core = |part| {
            format!(
                "processor\t: 0\nFeatures\t: fp asimd crc32 asimddp\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
            )
        };
        let info = [core("0xd05"), core("0xd05"), core("0xd0b"), core("0xfff")].concat();
        let (_folder, root) = tree(&[("proc/cpuinfo", &info), ("proc/device-tree/model", "Radxa ROCK 5B\0")]);
        let cpu = Cpu::read(&root);
        assert_eq!(
            cpu.name.as_deref(),
            Some("2 x Cortex-A55 + 1 x Cortex-A76 + 1 x core 0xfff of maker 0x41")
        );
        assert_eq!(cpu.board.as_deref(), Some("Radxa ROCK 5B"));
        assert_eq!(cpu.features.as_deref(), Some("asimd asimddp"));
    }

    #[test]
    fn a_system_that_tells_nothing_gives_nothing() {
        let (_folder, root) = tree(&[]);
        assert_eq!(Cpu::read(&root), Cpu::default());
    }
}
