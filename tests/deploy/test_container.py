"""deploy/Containerfile, as far as it can be judged without a registry: what it copies is all that the build needs, and the image that
it ends in has what the program is linked with."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from common import DEPLOY, PROGRAM, REPOSITORY
from test_kubernetes import container_of, pod_of, rendered

INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
# What gcr.io/distroless/cc-debian12 has of libraries.
THERE = r"lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+|ssl|crypto)\.so\.\d+|ld-linux[-\w]*\.so\.\d"


def stages():
    """The instructions of each stage."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.M).replace("\\\n", "")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


class Containerfile(unittest.TestCase):
    def test_what_is_copied_is_all_that_the_build_reads(self):
        (build, image) = stages()
        self.assertLessEqual({word for word, _ in build + image}, INSTRUCTIONS)
        copied = [name for word, rest in build if word == "COPY" for name in rest.split()[:-1]]
        with tempfile.TemporaryDirectory() as folder:
            for name in copied:
                copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
                copy(REPOSITORY / name, pathlib.Path(folder) / name)
            # Cargo looks for every file that a manifest names.
            command = ["cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]
            read = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            self.assertEqual(read.returncode, 0, read.stderr)
            for path in [*pathlib.Path(folder).glob("crates/*/**/*.rs"), *pathlib.Path(folder).glob("targets/*/src/**/*.rs")]:
                # Tests are not built.
                if "tests" not in str(path.relative_to(folder)):
                    for name in re.findall(r'include_(?:bytes|str)!\("([^"]+)"\)', path.read_text()):
                        self.assertTrue((path.parent / name).resolve().is_file(), f"{path}: {name}")

    def test_the_image_has_the_libraries_of_the_program_and_the_same_debian(self):
        (build, image) = stages()
        self.assertIn("bookworm", build[0][1])
        self.assertIn("debian12", image[0][1])
        said = subprocess.run(["readelf", "-d", PROGRAM], check=True, capture_output=True, text=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", said)
        self.assertIn("libc.so.6", needed)
        for name in needed:
            self.assertRegex(name, f"^({THERE})$")

    def test_the_image_is_what_the_manifests_start(self):
        (_, image) = stages()
        said = dict(image)
        user, group = said["USER"].split(":")
        security = pod_of(rendered([]))["securityContext"]
        self.assertEqual((int(user), int(group)), (security["runAsUser"], security["runAsGroup"]))
        program = said["ENTRYPOINT"].strip('[]"')
        self.assertIn(("COPY", f"--from=build /stonechat {program}"), image)
        self.assertEqual(said["ENV"], "STONECHAT_HOME=/models")
        self.assertEqual(said["EXPOSE"], str(container_of(rendered([]))["ports"][0]["containerPort"]))

    def test_the_compiler_is_not_too_old(self):
        (build, _) = stages()
        image = re.search(r"rust:(\d+)\.(\d+)", build[0][1]).groups()
        wanted = re.search(r'rust-version = "(\d+)\.(\d+)"', (REPOSITORY / "Cargo.toml").read_text()).groups()
        self.assertGreaterEqual(tuple(map(int, image)), tuple(map(int, wanted)))

    def test_started_as_it_is_it_asks_for_a_key(self):
        (_, image) = stages()
        words = re.findall(r'"([^"]+)"', dict(image)["CMD"])
        said = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=30)
        self.assertEqual(said.returncode, 2)
        self.assertIn("there is no key; give one (--api-key-file FILE)", said.stderr)


if __name__ == "__main__":
    unittest.main()
