"""deploy/kubernetes against Kubernetes' own schemas, against itself, and against the program that it starts.

No cluster is asked: that manifests are accepted and fit each other is not yet that a cluster runs them.
"""

import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import tomllib
import unittest
import urllib.parse

import jsonpatch
import kubernetes_validate
import yaml

from common import DEPLOY, PROGRAM, REPOSITORY, Server, free_port, get, until

FOLDER = DEPLOY / "kubernetes"
COMPONENTS = ["autoscaling", "shared-models", "tls"]
# The oldest with all that is used here (preStop.sleep), and the newest whose schemas there are.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
# Those of others, which have no schema in Kubernetes itself.
OTHERS = {
    "HTTPRoute",
    "PodMonitor",
    "AIGatewayRoute",
    "AIServiceBackend",
    "Backend",
    "BackendSecurityPolicy",
    "BackendTrafficPolicy",
}
KEY, SCRAPER = "a-key-for-clients-000", "a-key-for-prometheus"


class Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it, in which a key that stands twice is a mistake."""


def mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    if len(keys) != len(set(keys)):
        raise yaml.YAMLError(f"a key stands twice {node.start_mark}")
    return {loader.construct_object(key): loader.construct_object(value, deep=True) for key, value in node.value}


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def read(path):
    return [document for document in yaml.load_all(path.read_text(), Loader) if document]


def rendered(components):
    """What `kubectl kustomize` makes, as far as it is used here: resources, components and JSON patches."""
    objects = []

    def take(folder):
        (made,) = read(folder / "kustomization.yaml")
        unknown = set(made) - {"apiVersion", "kind", "resources", "patches"}
        assert not unknown, f"{folder}: this test does not know {unknown}"
        for name in made.get("resources", []):
            objects.extend(read(folder / name))
        for patch in made.get("patches", []):
            for at, found in enumerate(objects):
                if (found["kind"], found["metadata"]["name"]) == (patch["target"]["kind"], patch["target"]["name"]):
                    objects[at] = jsonpatch.apply_patch(found, yaml.load(patch["patch"], Loader))

    for folder in [FOLDER, *(FOLDER / name for name in components)]:
        take(folder)
    return objects


def one(objects, kind):
    (found,) = [found for found in objects if found["kind"] == kind]
    return found


def pod_of(objects):
    return one(objects, "Deployment")["spec"]["template"]["spec"]


def container_of(objects):
    (found,) = pod_of(objects)["containers"]
    return found


def flags_of(container):
    return dict(word.removeprefix("--").split("=", 1) for word in container["args"] if word.startswith("--"))


def mib(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def every_choice():
    for chosen in range(1 << len(COMPONENTS)):
        yield [name for bit, name in enumerate(COMPONENTS) if chosen >> bit & 1]


class Manifests(unittest.TestCase):
    def test_kubernetes_schemas_hold_whatever_is_chosen(self):
        for components in every_choice():
            for found in rendered(components):
                if found["kind"] not in OTHERS:
                    for version in VERSIONS:
                        with self.subTest(components=components, kind=found["kind"], version=version):
                            kubernetes_validate.validate(found, version, strict=True)

    def test_a_schema_would_find_a_mistake(self):
        deployment = one(rendered([]), "Deployment")
        deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)

    def test_every_file_is_yaml_and_is_used(self):
        named = {FOLDER / "autoscaling/adapter-rules.yaml", *(FOLDER / "gateway").iterdir()}
        for folder in [FOLDER, *(FOLDER / name for name in COMPONENTS)]:
            (made,) = read(folder / "kustomization.yaml")
            named |= {folder / "kustomization.yaml", *(folder / name for name in made.get("resources", []))}
        self.assertEqual(named, set(FOLDER.rglob("*.yaml")))
        for path in named:
            self.assertTrue(read(path), path)

    @unittest.skipUnless(shutil.which("kubectl"), "there is no kubectl, which would make the same of the kustomizations")
    def test_kubectl_makes_the_same_of_it(self):
        for components in every_choice():
            with self.subTest(components=components), tempfile.TemporaryDirectory() as folder:
                # kustomize wants relative paths.
                place = os.path.relpath(FOLDER, os.path.realpath(folder))
                made = {"resources": [place], "components": [f"{place}/{name}" for name in components]}
                (pathlib.Path(folder) / "kustomization.yaml").write_text(json.dumps(made))
                said = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True).stdout
                by_kind = {found["kind"]: found for found in yaml.load_all(said, Loader)}
                self.assertEqual(by_kind, {found["kind"]: found for found in rendered(components)})

    def test_labels_and_names_meet(self):
        objects = rendered(COMPONENTS)
        deployment = one(objects, "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selectors = [
            deployment["spec"]["selector"]["matchLabels"],
            one(objects, "Service")["spec"]["selector"],
            one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
            one(objects, "PodMonitor")["spec"]["selector"]["matchLabels"],
            *(each["labelSelector"]["matchLabels"] for each in pod_of(objects)["topologySpreadConstraints"]),
        ]
        for selector in selectors:
            self.assertTrue(selector.items() <= labels.items(), selector)
        target = one(objects, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        self.assertEqual(target, {name: deployment[name] for name in ("apiVersion", "kind")} | {"name": "stonechat"})
        self.assertNotIn("replicas", deployment["spec"], "the autoscaler decides")
        namespace = one(objects, "Namespace")["metadata"]["name"]
        for found in objects:
            if found["kind"] != "Namespace":
                self.assertEqual(found["metadata"]["namespace"], namespace, found["kind"])
        claim = next(volume for volume in pod_of(objects)["volumes"] if volume["name"] == "models")
        self.assertEqual(claim["persistentVolumeClaim"]["claimName"], one(objects, "PersistentVolumeClaim")["metadata"]["name"])

    def test_ports_meet(self):
        for components in ([], COMPONENTS):
            objects = rendered(components)
            container = container_of(objects)
            (port,) = container["ports"]
            self.assertEqual(str(port["containerPort"]), flags_of(container)["port"])
            (service,) = one(objects, "Service")["spec"]["ports"]
            self.assertEqual(service["targetPort"], port["name"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertEqual(container[probe]["httpGet"]["port"], port["name"])
                self.assertEqual(container[probe]["httpGet"].get("scheme", "HTTP"), "HTTPS" if "tls" in components else "HTTP")
        (endpoint,) = one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
        self.assertEqual((endpoint["port"], endpoint["scheme"]), (port["name"], "https"))

    def test_gateways_name_the_service(self):
        service = one(rendered([]), "Service")
        name, namespace, port = service["metadata"]["name"], service["metadata"]["namespace"], service["spec"]["ports"][0]["port"]
        host = f"{name}.{namespace}.svc.cluster.local"
        model = flags_of(container_of(rendered([])))["model"]
        (route,) = read(FOLDER / "gateway/httproute.yaml")
        (rule,) = route["spec"]["rules"]
        self.assertEqual(rule["backendRefs"], [{"name": name, "port": port}])
        self.assertEqual(route["metadata"]["namespace"], namespace)
        envoy = read(FOLDER / "gateway/envoy-ai-gateway.yaml")
        self.assertEqual(one(envoy, "Backend")["spec"]["endpoints"], [{"fqdn": {"hostname": host, "port": port}}])
        backend = one(envoy, "AIServiceBackend")
        self.assertEqual(backend["spec"]["backendRef"]["name"], one(envoy, "Backend")["metadata"]["name"])
        (rule,) = one(envoy, "AIGatewayRoute")["spec"]["rules"]
        self.assertEqual(rule["backendRefs"], [{"name": backend["metadata"]["name"]}])
        self.assertEqual(rule["matches"][0]["headers"][0]["value"], model)
        self.assertEqual(one(envoy, "BackendSecurityPolicy")["spec"]["targetRefs"][0]["name"], backend["metadata"]["name"])
        (litellm,) = read(FOLDER / "gateway/litellm.yaml")
        for each in litellm["model_list"]:
            self.assertEqual(each["litellm_params"]["api_base"], f"http://{host}:{port}/v1")
            self.assertEqual(each["litellm_params"]["model"], f"openai/{model}")

    def test_nothing_is_allowed_that_is_not_needed(self):
        """The standard 'restricted', as far as it is about these pods; the namespace lets the cluster enforce it."""
        for components in every_choice():
            objects = rendered(components)
            self.assertEqual(one(objects, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")
            pod = pod_of(objects)
            self.assertIs(pod["automountServiceAccountToken"], False)
            self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
            self.assertGreater(pod["securityContext"]["runAsUser"], 0)
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & pod.keys())
            for volume in pod["volumes"]:
                self.assertTrue(volume.keys() <= {"name", "emptyDir", "secret", "persistentVolumeClaim"}, volume)
            for container in pod["containers"] + pod["initContainers"]:
                self.assertEqual(
                    container["securityContext"],
                    {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
                )
            for mount in container_of(objects)["volumeMounts"]:
                self.assertIs(mount["readOnly"], True, mount)

    def test_files_lie_in_volumes(self):
        objects = rendered(["tls"])
        pod, container = pod_of(objects), container_of(objects)
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        for flag in ("api-key-file", "tls-cert", "tls-key"):
            path = pathlib.PurePosixPath(flags_of(container)[flag])
            secret = mounts[str(path.parent)]["secret"]
            # Secrets of the type kubernetes.io/tls have these names.
            names = {item["path"] for item in secret.get("items", [])} or {"tls.crt", "tls.key"}
            self.assertIn(path.name, names)
        (monitor,) = one(rendered(["autoscaling"]), "PodMonitor")["spec"]["podMetricsEndpoints"]
        keys = mounts["/etc/stonechat/keys"]["secret"]["secretName"]
        self.assertEqual(monitor["authorization"]["credentials"]["name"], keys)
        commands = (DEPLOY / "README.md").read_text()
        for file in ("keys.txt", monitor["authorization"]["credentials"]["key"]):
            self.assertRegex(commands, rf"create secret generic {keys} .*--from-file={file}\b")

    def test_the_model_is_pulled_where_it_is_read(self):
        objects = rendered([])
        (pull,), serve = pod_of(objects)["initContainers"], container_of(objects)
        home = lambda container: next(each["value"] for each in container["env"] if each["name"] == "STONECHAT_HOME")  # noqa: E731
        self.assertEqual(home(pull), home(serve))
        for container in (pull, serve):
            self.assertIn(home(pull), [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "models"])
        self.assertEqual(pull["image"], serve["image"])
        self.assertEqual(pull["args"], ["pull", flags_of(serve)["model"]])
        path = subprocess.run([PROGRAM, *pull["args"]], check=True, capture_output=True, text=True).stdout.strip()
        self.assertTrue(pathlib.Path(path).is_file(), path)
        # Pulled and unpacked, it lies there twice for a moment.
        volume = next(volume for volume in pod_of(objects)["volumes"] if volume["name"] == "models")
        self.assertGreater(mib(volume["emptyDir"]["sizeLimit"]) << 20, 2 * pathlib.Path(path).stat().st_size)

    def test_answers_have_the_time_to_end_that_is_said(self):
        objects = rendered([])
        sleep = container_of(objects)["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = int(flags_of(container_of(objects))["drain-timeout"])
        grace = pod_of(objects)["terminationGracePeriodSeconds"]
        self.assertGreaterEqual(grace, sleep + drain + 5)

    def test_memory_is_what_plan_says(self):
        container = container_of(rendered([]))
        flags, resources = flags_of(container), container["resources"]
        threads = next(each for each in container["env"] if each["name"] == "THREADS")
        self.assertEqual(threads["valueFrom"], {"resourceFieldRef": {"resource": "requests.cpu"}})
        self.assertEqual(flags["threads"], "$(THREADS)")
        limits = ["--parallel", flags["parallel"], "-c", flags["ctx"], "-t", resources["requests"]["cpu"]]
        plan = json.loads(subprocess.run([PROGRAM, "plan", "--json", flags["model"], *limits], check=True, capture_output=True).stdout)
        needed = (plan["arena_bytes"] + plan["mapped_bytes"]) / (1 << 20)
        self.assertEqual(resources["requests"]["memory"], resources["limits"]["memory"])
        asked = mib(resources["limits"]["memory"])
        self.assertGreaterEqual(asked, needed + 64)
        self.assertLess(asked, needed + 160, "and no more than that")
        # What the comment beside it says can be typed.
        comment = re.search(r"# .*: stonechat (plan .*)", (FOLDER / "deployment.yaml").read_text())[1]
        self.assertEqual(comment.split(), ["plan", flags["model"], *limits])


class Running(unittest.TestCase):
    """The program with the flags of the manifests, files in a folder in place of volumes, and a port of its own."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "keys.txt").write_text(f"{KEY}\n{SCRAPER}\n")

    def arguments(self, components=(), **changed):
        container = container_of(rendered(components))
        cpus = container["resources"]["requests"]["cpu"]
        words = [word.replace("$(THREADS)", cpus) for word in container["args"]]
        words = [re.sub(r"=/etc/stonechat/\w+/", f"={self.folder}/", word) for word in words]
        for name, value in {"port": free_port(), "host": "127.0.0.1", **changed}.items():
            flag = f"--{name.replace('_', '-')}="
            self.assertEqual(sum(word.startswith(flag) for word in words), 1, flag)
            words = [f"{flag}{value}" if word.startswith(flag) else word for word in words]
        return words[1:]

    def serve(self, **changed):
        server = Server(self.arguments(**changed))
        self.addCleanup(server.end)
        return server

    def certify(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            + ["-subj", "/CN=stonechat", "-addext", "subjectAltName=DNS:stonechat.stonechat.svc,IP:127.0.0.1"]
            + ["-keyout", self.folder / "tls.key", "-out", self.folder / "tls.crt"],
            check=True,
            capture_output=True,
        )

    def ask(self, server, **more):
        """The status and headers of an answer."""
        body = {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 64, **more}
        at = urllib.parse.urlsplit(server.url)
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=120)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            reply = connection.getresponse()
            return reply.status, reply.headers, json.load(reply)

    def test_check_takes_the_flags_as_they_are(self):
        self.certify()
        for components in ([], ["tls"]):
            words = self.arguments(components, host="0.0.0.0", port=8080)
            said = subprocess.run([PROGRAM, "serve", *words, "--check"], capture_output=True, text=True)
            self.assertEqual((said.returncode, said.stdout.split("\n")[0]), (0, "smollm2-135m would be served at 0.0.0.0:8080"), said.stderr)
        # Without the Secret it says so.
        (self.folder / "keys.txt").unlink()
        said = subprocess.run([PROGRAM, "serve", *words, "--check"], capture_output=True, text=True)
        self.assertEqual((said.returncode, "keys.txt" in said.stderr), (1, True), said.stderr)

    def test_probes_and_metrics_are_answered(self):
        server = self.serve()
        container = container_of(rendered([]))
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(get(server.url + container[probe]["httpGet"]["path"])[0], 200)
        (monitor,) = one(rendered(["autoscaling"]), "PodMonitor")["spec"]["podMetricsEndpoints"]
        self.assertEqual(get(server.url + monitor["path"])[0], 401, "metrics need a key")
        scheme = {"Authorization": f"{monitor['authorization']['type']} {SCRAPER}"}
        status, text = get(server.url + monitor["path"], scheme)
        self.assertEqual(status, 200)
        gauges = {line.split()[2] for line in text.splitlines() if re.match(r"# TYPE \w+ gauge$", line)}
        (values,) = read(FOLDER / "autoscaling/adapter-rules.yaml")
        rules = {rule["name"]["as"]: rule for rule in values["rules"]["custom"]}
        asked = [metric["pods"]["metric"]["name"] for metric in one(rendered(["autoscaling"]), "HorizontalPodAutoscaler")["spec"]["metrics"]]
        self.assertEqual(sorted(rules), sorted(asked), "the autoscaler asks what the adapter tells")
        for rule in rules.values():
            for text in (rule["seriesQuery"], rule["metricsQuery"]):
                for name in re.findall(r"stonechat_\w+", text):
                    self.assertIn(name, gauges)
        # The plan is what is taken.
        resources = container["resources"]
        self.assertLess(server.metric("stonechat_memory_planned_bytes", scheme), mib(resources["requests"]["memory"]) << 20)
        self.assertEqual(str(int(server.metric("stonechat_slots", scheme))), flags_of(container)["parallel"])

    def test_a_full_pod_is_healthy_and_one_that_ends_is_not_ready_but_answers(self):
        server = self.serve(parallel=1, queue=2)
        scraper = {"Authorization": f"Bearer {SCRAPER}"}
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.ask(server)), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        counted = lambda *names: sum(server.metric(f"stonechat_{name}", scraper) for name in names)  # noqa: E731
        until(lambda: counted("slots_reading", "slots_writing") == 1 and counted("queue") == 2, "one is served, and two wait")
        status, headers, _ = self.ask(server)
        self.assertEqual(status, 429)
        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
        self.assertEqual(get(f"{server.url}/health")[0], 200, "it is full, and still in the service")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: get(f"{server.url}/health")[0] == 503, "it ends, and is not ready")
        status, headers, _ = self.ask(server)
        self.assertEqual((status, "Retry-After" in headers), (503, True))
        self.assertEqual(answers, [], "it was not idle")
        self.assertEqual(server.process.wait(110), 0)
        for thread in threads:
            thread.join(10)
        self.assertEqual([status for status, _, _ in answers], [200] * 3, "all that was taken was answered")

    def test_a_pod_that_loads_says_nothing(self):
        # It waits for another that pulls, as it would for a large model.
        home = self.folder / "home"
        (home / "models").mkdir(parents=True)
        model = flags_of(container_of(rendered([])))["model"]
        file = tomllib.loads((REPOSITORY / f"models/{model}.toml").read_text())["file"]
        with open(home / "models" / f"{file}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            port = free_port()
            words = self.arguments(port=port)
            process = subprocess.Popen([PROGRAM, "serve", *words], env={**os.environ, "STONECHAT_HOME": str(home)}, stderr=subprocess.DEVNULL)
            try:
                until(lambda: listens(port), "it listens")
                status, said = get(f"http://127.0.0.1:{port}/health", timeout=2)
                self.assertEqual((status, "timed out" in said), (0, True), said)
                # Not the first process of its container (shareProcessNamespace), it ends at once.
                process.terminate()
                self.assertEqual(process.wait(10), -signal.SIGTERM)
            finally:
                process.kill()
                process.wait()

    def test_above_its_connections_it_hangs_up_so_liveness_is_patient(self):
        server = Server([*self.arguments(), "--connections", "3"])
        self.addCleanup(server.end)
        at = urllib.parse.urlsplit(server.url)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection((at.hostname, at.port)))
            until(lambda: get(f"{server.url}/health")[0] == 0, "a fourth is closed")
        until(lambda: get(f"{server.url}/health")[0] == 200, "there is room again", 10)
        probe = container_of(rendered([]))["livenessProbe"]
        self.assertGreaterEqual(probe["periodSeconds"] * probe["failureThreshold"], 60)

    def test_encrypted_it_answers_the_same_probes(self):
        self.certify()
        server = Server(self.arguments(["tls"]))
        self.addCleanup(server.end)
        self.assertTrue(server.url.startswith("https://"))
        at = urllib.parse.urlsplit(server.url)
        trust = ssl.create_default_context(cafile=self.folder / "tls.crt")
        connection = http.client.HTTPSConnection(at.hostname, at.port, timeout=10, context=trust)
        with contextlib.closing(connection):
            connection.request("GET", container_of(rendered(["tls"]))["readinessProbe"]["httpGet"]["path"])
            self.assertEqual(connection.getresponse().status, 200)


def listens(port):
    with contextlib.closing(socket.socket()) as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    unittest.main()
