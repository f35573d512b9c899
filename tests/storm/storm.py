"""Many clients at once, against a running server that speaks OpenAI's interface.

In: an address, how many clients, how long. Out: what they were told, how long the first token took, tokens per second, errors,
and what the server's memory did meanwhile. Python's standard library alone: each client is a thread with a connection.
"""

import http.client
import json
import random
import statistics
import threading
import time
import urllib.parse

# Questions of every length: some begin alike, as those to one assistant do, one brings a page to read.
SYSTEM = "You are the assistant of a museum. Answer in two short sentences, kindly, in words that a child knows."
PAGE = (
    "The stonechat is a small bird of open land with bushes. It sits on top of a bush or a fence, flicks its tail, and its call "
    "sounds like two pebbles that are knocked together. It eats insects, spiders and worms, and builds its nest of grass and moss "
    "close to the ground. In cold winters many of them die, but each pair has up to three broods a year, so their number recovers. "
)
TOPICS = ["the moon", "bread", "a river", "old ships", "whales", "the city of Rome", "snow", "clocks", "a volcano", "honey bees"]
ASKS = ["What is {}?", "Tell me a story about {}.", "Write three facts about {}.", "Why do people like {}?"]


def question(number):
    """The messages of a question: the same number, the same question."""
    chance = random.Random(number)
    ask = chance.choice(ASKS).format(chance.choice(TOPICS))
    kind = number % 4
    if kind == 0:
        return [{"role": "user", "content": ask}]
    if kind == 3:
        return [{"role": "user", "content": f"{PAGE * 3}\n\nAfter this page, one more thing. {ask}"}]
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ask}]


class Refused(Exception):
    """The server is full (429, 503) and says when to come again."""

    def __init__(self, status, wait):
        super().__init__(f"status {status}")
        self.wait = wait


class Answer:
    """What came of a request: its text, its tokens, seconds to the first of them and in all."""

    def __init__(self):
        self.text = ""
        self.tokens = 0
        self.first = None
        self.seconds = None


def ask(address, number, tokens, leave_after=None):
    """Asks question `number` with the seed `number`, as a stream. With `leave_after`, goes away after so many pieces."""
    url = urllib.parse.urlsplit(address)
    body = json.dumps({
        "messages": question(number), "stream": True, "stream_options": {"include_usage": True}, "max_tokens": tokens,
        "seed": number, "temperature": 0.8, "top_p": 0.95,
    })
    answer, start = Answer(), time.monotonic()
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status in (429, 503):
            raise Refused(response.status, float(response.headers["Retry-After"]))
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {response.read(500).decode(errors='replace')}")
        pieces, done = 0, False
        for line in response:
            if not line.startswith(b"data: "):
                continue
            data = line[6:].strip()
            if data == b"[DONE]":
                done = True
                break
            event = json.loads(data)
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            if event.get("usage"):
                answer.tokens = event["usage"]["completion_tokens"]
            for choice in event.get("choices", []):
                piece = choice.get("delta", {}).get("content")
                if piece:
                    if answer.first is None:
                        answer.first = time.monotonic() - start
                    answer.text += piece
                    pieces += 1
            if leave_after is not None and pieces >= leave_after:
                return answer
        if not done:
            raise RuntimeError("the stream ended before it was done")
        answer.seconds = time.monotonic() - start
        return answer
    finally:
        connection.close()


def get(address, path):
    """What the server says at a path, as JSON."""
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    try:
        connection.request("GET", path)
        return json.load(connection.getresponse())
    finally:
        connection.close()


def memory(pid):
    """Resident kibibytes of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


class Report:
    """What a storm was like."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answers = []
        self.refused = 0
        self.left = 0
        self.errors = []
        self.seconds = 0.0
        # Seconds since the start, and kibibytes.
        self.memory = []

    def tokens_per_second(self):
        return sum(answer.tokens for answer in self.answers) / self.seconds

    def first(self, share):
        """Seconds to the first token, which this share of the answers did not exceed."""
        times = sorted(answer.first for answer in self.answers if answer.first is not None)
        return times[min(len(times) - 1, int(len(times) * share))] if times else float("nan")

    def memory_span(self, after):
        """The least and the most kibibytes after so many seconds."""
        later = [kibibytes for second, kibibytes in self.memory if second >= after]
        return (min(later), max(later)) if later else (0, 0)

    def lines(self):
        yield f"{len(self.answers)} answers, {self.refused} told to come again, {self.left} left, {len(self.errors)} errors"
        yield f"{self.tokens_per_second():.1f} tokens/s in {self.seconds:.0f} s"
        if self.answers:
            middle = statistics.median(answer.first for answer in self.answers if answer.first is not None)
            yield f"first token: median {middle:.2f} s, 95 of 100 within {self.first(0.95):.2f} s"


def storm(address, clients, seconds, tokens=64, pid=None, leaving=False, first_question=0):
    """Lets `clients` ask one question after the other for so long. With `leaving`, most go away at some moment."""
    report, start = Report(), time.monotonic()
    end = start + seconds
    numbers = iter(range(first_question, 1 << 62))

    def client(own):
        chance = random.Random(own)
        while time.monotonic() < end:
            with report.lock:
                number = next(numbers)
            leave_after = chance.choice([0, 1, 2, 5, 20, None]) if leaving else None
            try:
                answer = ask(address, number, tokens, leave_after)
                with report.lock:
                    if answer.seconds is None:
                        report.left += 1
                    else:
                        report.answers.append(answer)
            except Refused as refused:
                with report.lock:
                    report.refused += 1
                time.sleep(min(refused.wait, 1) * chance.random())
            except Exception as error:  # whatever it was, it is counted, and the others go on
                with report.lock:
                    report.errors.append(f"question {number}: {type(error).__name__}: {error}")
                time.sleep(0.1)

    threads = [threading.Thread(target=client, args=(own,)) for own in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if pid is not None:
            report.memory.append((time.monotonic() - start, memory(pid)))
        time.sleep(0.5)
    report.seconds = time.monotonic() - start
    return report


def idle(address, within=30):
    """Whether all slots are free again, soon."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not any(slot["is_processing"] for slot in get(address, "/slots")):
            return True
        time.sleep(0.1)
    return False
