"""The page that a server has at /, in Chromium without a screen, with the real model. browser.py says who starts the servers."""

import json
import re
import time
import unittest
import urllib.request

from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.keys import Keys

from browser import KEY, LOCKED_SERVER, LONG, SERVER, SOON, Page, start

FILES = ["/", "/page.css", "/page.js", "/markdown.js", "/icon.svg"]
MOST_BYTES = 27_000
FRANCE = "Name the capital of France."
# The answer has more than three thousand tokens, far more than a test waits for.
STORY = "Write a long story about a fox, in many paragraphs."

HOSTILE = [
    "<script>document.title = 'broken'; alert(1)</script>",
    "<img src=x onerror=\"document.title = 'broken'; alert(1)\">",
    "<svg onload=alert(1)><iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "[a link](javascript:alert(1)) <javascript:alert(1)> ![an image](http://example.org/x.png)",
    "**<b onclick=alert(1)>bold</b>** *<i>i</i>* ~~<s>s</s>~~ `</code><script>alert(1)</script>`",
    "```html\n</code></pre><script>alert(1)</script>\n```",
    "```\"><script>alert(1)</script>\nx\n```",
    "# <h1 onmouseover=alert(1)>x</h1>",
    "- <a href=\"javascript:alert(1)\">x</a>\n  - <base href=//example.org>",
    "| <td onclick=alert(1)> | b |\n|---|:-:|\n| <style>*{display:none}</style> | <meta http-equiv=refresh content=0> |",
    "> <object data=//example.org></object>\n> > <embed src=//example.org>",
    "99999999. <form action=//example.org><button>x</button></form>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x onerror=alert(1)&#62;",
]
MARKDOWN = """# All of it ##

Some *emphasis*, **strong *words***, ***both***, __under__ and _scores_, `code`, ``a ` tick``, ~~gone~~, snake_case_name, 2 * 3 * 4
and a second line, with a \\*star\\*.

1. First
   - nested
     with a second line
     1. deeper

   A second paragraph.
2. Code:
   ```python
   def f(x):
       return x

   # after an empty line
   ```
3) Third
\t- by a tab

````markdown
```rust
fn main() {}
```
````

A paragraph before a table
| Planet | Diameter |
|:-------|---------:|
| Mercury | 4,879 |
| a \\| b | `c` | too many |

> A quote
> - with a list
goes on

---
~~~
no end"""
# Lines that look like the beginning of something until the next letter comes.
MISLEADING = [
    "It is\n1.5 metres and\n-5 degrees\n\n- x\n-y\n#z\n# z\n",
    "text\na | b\n--|--c\nd\n\ntext\na | b\n--|--\nd\n",
    "text\n```x` y\n\n> q\n```\ncode\n``\n```` \nend\n",
    "text\n***bold*** text\n***\n* * x\n* * *\n**b\nc**\n",
    "1. a\n\n1) b\n10\n11. c\n   x\n  y\n z\n\n  p\nq\n",
]
# What text may become; none of it can do anything.
HARMLESS = {
    *("article", "blockquote", "br", "code", "del", "details", "div", "em", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"),
    *("strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}

browser = None


def setUpModule():
    global browser
    browser = start()
    unittest.addModuleCleanup(browser.quit)


class Case(unittest.TestCase):
    """A page that nobody has used yet. Afterwards it is seen that it asked nobody but its server, and that nothing went wrong."""

    # Errors in the browser's log that a test brings about.
    expected = ()

    def setUp(self):
        self.page = Page(browser)
        self.page.size(1000, 800)
        self.page.scheme("light")
        for server in (LOCKED_SERVER, SERVER):
            self.page.open(server=server)
            self.page.js("localStorage.clear(); sessionStorage.clear()")
        self.requests()
        browser.get_log("browser")
        self.page.open()

    def tearDown(self):
        for request in self.requests():
            self.assertTrue(request["url"].startswith((SERVER + "/", LOCKED_SERVER + "/")), request["url"])
        for line in browser.get_log("browser"):
            if line["level"] == "DEBUG":  # advice
                continue
            self.assertTrue(any(words in line["message"] for words in self.expected), line)

    def requests(self):
        """What the page has asked for since this was last called."""
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        return [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def asked(self):
        """The bodies of the questions since `requests` or this were last called."""
        return [json.loads(request["postData"]) for request in self.requests() if request["url"].endswith("/v1/chat/completions")]


class Conversation(Case):
    def test_by_the_keyboard_alone(self):
        page = self.page
        self.assertEqual(page.focused(), "text")
        page.press(FRANCE, Keys.ENTER)
        page.until(lambda: len(page.talk()) == 2, SOON)
        self.assertIn("Paris", page.answer())
        self.assertEqual(page.talk()[0], ("user", FRANCE))
        self.assertEqual(page.focused(), "text")
        self.assertEqual(page.at("text").get_property("value"), "")
        # Lines, too.
        page.press("One line")
        page.chord(Keys.SHIFT, Keys.ENTER)
        page.press("and another", Keys.ENTER)
        page.until(lambda: len(page.talk()) == 4, SOON)
        self.assertEqual(page.talk()[2], ("user", "One line\nand another"))
        page.press(Keys.ESCAPE)
        page.until(lambda: page.shows("send"), SOON)
        # From the text back to all else: what was said last, its retry, and a new conversation, which can be taken back.
        page.chord(Keys.SHIFT, Keys.TAB)
        self.assertEqual(page.focused(), "retry")
        page.press(Keys.TAB, Keys.TAB)
        self.assertEqual(page.focused(), "send")
        for _ in range(4):
            page.chord(Keys.SHIFT, Keys.TAB)
        self.assertEqual(page.focused(), "clear")
        said = page.talk()
        page.press(Keys.ENTER)
        self.assertEqual(page.talk(), [])
        self.assertEqual(page.kept(), [])
        self.assertEqual(page.focused(), "text")
        page.chord(Keys.SHIFT, Keys.TAB)
        self.assertEqual(page.focused(), "undo")
        page.press(Keys.ENTER)
        self.assertEqual(page.talk(), said)

    def test_tokens_per_second_are_told_while_they_come(self):
        page = self.page
        page.say(STORY)
        page.growing(100)
        told = set()
        page.until(lambda: told.add(page.at("state").text) or len(told) > 3, LONG)
        page.at("stop").click()
        for text in told:
            self.assertRegex(text, r"^\d+\.\d tokens/s$")
        # Where the story was cut is a matter of speed, and what follows it in the same conversation may be long.
        page.until(lambda: not page.shows("stop"), SOON)
        page.at("clear").click()
        page.ask(FRANCE)
        self.assertRegex(page.at("state").text, r"^\d+\.\d tokens/s$")

    def test_stop_keeps_what_was_said(self):
        page = self.page
        page.say(STORY)
        page.growing(40)
        page.at("stop").click()
        part = page.answer()
        self.assertGreaterEqual(len(part), 40)
        self.assertTrue(page.at("state").text.startswith("Stopped"), page.at("state").text)
        # The server works no longer, the conversation goes on, and the part is what the model knows of its answer.
        page.until(lambda: "true" not in re.findall(r'"is_processing": ?(\w+)', get("/slots")), SOON)
        self.assertEqual(page.focused(), "text")
        self.requests()
        page.ask(FRANCE)
        (body,) = self.asked()
        self.assertEqual([message["role"] for message in body["messages"]], ["user", "assistant", "user"])
        self.assertEqual(page.talk()[1], ("assistant", part))
        page.open()
        self.assertEqual(page.talk()[1], ("assistant", part))

    def test_retry_asks_for_another_answer(self):
        page = self.page
        first = page.ask("Tell me a story of two sentences.")
        self.requests()
        others = []
        for _ in range(3):
            page.at("retry").click()
            # By chance one may be very long.
            page.until(lambda: len(page.talk()[-1][1]) > 120 or not page.shows("stop"), LONG)
            page.press(Keys.ESCAPE)
            others.append(page.answer())
            self.assertEqual([role for role, _ in page.talk()], ["user", "assistant"])
        self.assertFalse(all(first.startswith(other) for other in others), others)
        for body in self.asked():
            self.assertEqual([message["role"] for message in body["messages"]], ["user"])
        self.assertEqual(len(page.kept()), 2)

    def test_a_new_conversation_in_the_middle_of_an_answer_has_nothing_of_it(self):
        """What came of a stopped answer was once added to the conversation after it: of another visitor, at a kiosk."""
        for path in ("/", "/?kiosk"):
            page = self.page
            page.open(path)
            page.say(STORY)
            page.growing(40)
            page.at("clear").click()
            page.until(lambda: page.shows("send"), SOON)
            self.requests()
            page.ask(FRANCE)
            (body,) = self.asked()
            self.assertEqual(body["messages"], [{"role": "user", "content": FRANCE}])
            self.assertEqual(len(page.talk()), 2)

    def test_a_question_without_an_answer_and_the_next_are_one_to_the_model(self):
        """Templates of many models refuse two messages of the user after each other."""
        page = self.page
        self.keep([{"role": "user", "content": "Hello."}])
        self.requests()
        page.ask(FRANCE)
        (body,) = self.asked()
        self.assertEqual(body["messages"], [{"role": "user", "content": f"Hello.\n\n{FRANCE}"}])

    def test_it_survives_a_reload(self):
        page = self.page
        page.ask(FRANCE)
        said = page.talk()
        page.open()
        self.assertEqual(page.talk(), said)
        # In the middle of an answer, too, as far as it had come.
        page.say(STORY)
        page.growing(40)
        page.open()
        self.assertEqual([role for role, _ in page.talk()], ["user", "assistant"] * 2)
        self.assertGreaterEqual(len(page.talk()[-1][1]), 40)
        # What is kept but is no conversation is not shown.
        for kept in ("{", "null", "7", '[{"role": "system", "content": "x"}, {"role": "user"}]'):
            page.js("localStorage.setItem('stonechat-talk', arguments[0])", kept)
            page.open()
            self.assertEqual(page.talk(), [], kept)
            self.assertTrue(page.shows("hint"))

    def keep(self, turns):
        self.page.js("localStorage.setItem('stonechat-talk', arguments[0])", json.dumps(turns))
        self.page.open()


class Errors(Case):
    expected = ("ERR_INTERNET_DISCONNECTED", "401 (Unauthorized)")

    def test_a_server_that_is_not_there_and_comes_back(self):
        page = self.page
        page.reaches_the_server(False)
        self.addCleanup(page.reaches_the_server, True)
        page.say(FRANCE)
        page.until(lambda: page.talk()[-1][0] == "error", SOON)
        self.assertEqual(page.talk(), [("user", FRANCE), ("error", "The server cannot be reached.")])
        self.assertEqual(page.all("article.error")[0].get_attribute("role"), "alert")
        page.reaches_the_server(True)
        page.at("retry").click()
        page.until(lambda: page.talk()[-1][0] == "assistant", SOON)
        self.assertIn("Paris", page.answer())
        self.assertEqual(len(page.talk()), 2)

    def test_a_key_is_asked_for(self):
        page = self.page
        page.open(server=LOCKED_SERVER)
        page.until(lambda: page.shows("door"), SOON)
        self.assertEqual(page.focused(), "key")
        self.assertEqual(page.at("why").text, "This server needs a key.")
        # Without one the page is there, and says why it does not answer.
        page.press(Keys.ESCAPE)
        page.until(lambda: not page.shows("door"), SOON)
        page.say(FRANCE)
        page.until(lambda: page.shows("door"), SOON)
        page.at("leave").click()
        page.until(lambda: page.talk()[-1][0] == "error", SOON)
        self.assertIn("key is needed", page.talk()[1][1])
        page.at("retry").click()
        page.until(lambda: page.shows("door"), SOON)
        page.press("not-the-right-key", Keys.ENTER)
        page.until(lambda: "not one of" in page.at("why").text, SOON)
        self.assertEqual(page.at("key").get_property("value"), "")
        page.press(KEY, Keys.ENTER)
        page.until(lambda: page.talk()[-1][0] == "assistant", SOON)
        self.assertIn("Paris", page.answer())
        # It is known until the tab is closed, but is not among what is kept.
        page.open(server=LOCKED_SERVER)
        page.until(lambda: page.at("model").text == "smollm2-135m", SOON)
        self.assertFalse(page.shows("door"))
        self.assertNotIn(KEY, page.js("return JSON.stringify(localStorage)"))


class Injection(Case):
    def assertHarmless(self):
        with self.assertRaises(NoAlertPresentException):
            _ = browser.switch_to.alert.text
        self.assertEqual(browser.title, "Stonechat")
        for name, attributes in self.page.js("""
            return [...document.querySelectorAll("#talk *, #test *")].map((node) => [node.localName, node.getAttributeNames()])"""):
            self.assertIn(name, HARMLESS)
            self.assertLessEqual(set(attributes), {"class", "dir", "aria-label", "aria-hidden", "start", "style", "role"}, name)

    def test_what_a_reader_writes_is_text(self):
        page = self.page
        text = " ".join(HOSTILE[:5])
        page.at("text").send_keys(f"Repeat this word by word: {text}", Keys.ENTER)
        page.until(lambda: len(page.talk()) == 2, SOON)
        self.assertEqual(page.talk()[0], ("user", f"Repeat this word by word: {text}"))
        page.until(lambda: len(page.talk()[1][1]) > 60 or not page.shows("stop"), LONG)
        self.assertHarmless()
        if page.shows("stop"):
            page.at("stop").click()
        page.answer()
        self.assertHarmless()
        page.open()
        self.assertEqual(page.talk()[0][1], f"Repeat this word by word: {text}")
        self.assertHarmless()

    def test_what_a_model_writes_is_text(self):
        """A model cannot be made to say just these words, so the function that writes answers is given them."""
        page = self.page
        said = browser.execute_async_script("""
            const [texts, done] = arguments;
            import("/markdown.js").then(({ render, Writer }) => {
              const test = document.body.appendChild(document.createElement("div"));
              test.id = "test";
              const said = texts.map((text) => {
                const whole = test.appendChild(document.createElement("div"));
                whole.append(render(text));
                const grown = test.appendChild(document.createElement("div"));
                const writer = new Writer(grown);
                for (let length = 0; length <= text.length; length++) writer.write(text.slice(0, length));
                writer.end(text);
                return [whole.textContent, grown.textContent];
              });
              setTimeout(done, 500, said);
            }, (error) => done([String(error)]));""", HOSTILE)
        self.assertHarmless()
        self.assertEqual(len(said), len(HOSTILE), said)
        for text, (whole, grown) in zip(HOSTILE, said, strict=True):
            self.assertEqual(whole, grown)
            for word in ("alert(1)", "example.org", "<script>", "<img", "onclick", "<form", "<style", "<base", "<a ", "&lt;", "onload", "<h1"):
                # What a fence says of its language is not shown.
                if word in text and not text.startswith("```\""):
                    self.assertIn(word, whole)

    def test_a_kept_answer_is_text(self):
        kept = [{"role": "assistant", "content": text, "thought": text} for text in HOSTILE]
        self.page.js("localStorage.setItem('stonechat-talk', arguments[0])", json.dumps(kept))
        self.page.open()
        self.assertEqual(len(self.page.talk()), len(HOSTILE))
        time.sleep(0.5)
        self.assertHarmless()

    def test_the_browser_is_told_to_let_none_in(self):
        for path in FILES:
            with urllib.request.urlopen(SERVER + path) as response:
                policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
                self.assertEqual(response.headers["X-Content-Type-Options"], "nosniff")
                self.assertEqual(response.headers["Referrer-Policy"], "no-referrer")
            self.assertEqual(policy["default-src"], "'none'")
            self.assertEqual(policy["script-src"], "'self'")
            self.assertEqual(policy["connect-src"], "'self'")
            self.assertEqual(policy["trusted-types"], "'none'")
            # None of it leads elsewhere.
            self.assertEqual({value for value in policy.values()}, {"'none'", "'self'", "'script'"})
        # And it does: neither markup nor script of a text, nor another origin.
        refused = browser.execute_async_script("""
            const done = arguments[0];
            const refused = [];
            try { document.body.innerHTML = "<p>x"; } catch { refused.push("markup"); }
            const image = document.createElement("img");
            image.onerror = () => fetch("http://127.0.0.1:9/").catch(() => { refused.push("origin"); done(refused); });
            image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";""")
        self.assertEqual(refused, ["markup", "origin"])
        browser.get_log("browser")
        self.requests()


class Markdown(Case):
    def script(self, body, *arguments):
        result = browser.execute_async_script(
            "const done = [...arguments].pop(); import('/markdown.js').then(({ render, Writer }) => {" + body
            + "}).catch((error) => done({ error: String(error.stack) }));", *arguments)
        self.assertNotIn("error", result if isinstance(result, dict) else {})
        return result

    def html(self, text):
        return self.script("""
            const root = document.createElement("div");
            root.append(render(arguments_[0]));
            done([root.innerHTML]);""".replace("arguments_", "[" + json.dumps(text) + "]"))[0]

    def test_what_is_read(self):
        for text, html in [
            ("a\nb\n\nc", "<p>a\nb</p><p>c</p>"),
            ("# A #\n### B", "<h2>A</h2><h4>B</h4>"),
            ("- a\n- b\n\n1. c\n2. d", "<ul><li><p>a</p></li><li><p>b</p></li></ul><ol start=\"1\"><li><p>c</p></li><li><p>d</p></li></ol>"),
            ("1. a\n\n2. b", "<ol start=\"1\"><li><p>a</p></li><li><p>b</p></li></ol>"),
            ("1. a\n   - b\n   - c\n2. d",
             "<ol start=\"1\"><li><p>a</p><ul><li><p>b</p></li><li><p>c</p></li></ul></li><li><p>d</p></li></ol>"),
            ("3. a\n   ```sh\n     x\n   y\n   ```", "<ol start=\"3\"><li><p>a</p><pre><code>  x\ny</code></pre></li></ol>"),
            ("````md\n```rust\nx\n```\n````\ny", "<pre><code>```rust\nx\n```</code></pre><p>y</p>"),
            ("```\nno end", "<pre><code>no end</code></pre>"),
            ("| a | b |\n|---|--:|\n| c \\| d |", "<div class=\"wide\"><table><thead><tr><th>a</th>"
             "<th style=\"text-align: end;\">b</th></tr></thead><tbody><tr><td>c | d</td>"
             "<td style=\"text-align: end;\"></td></tr></tbody></table></div>"),
            ("a | b\nc", "<p>a | b\nc</p>"),
            ("> a\nb\n\nc", "<blockquote><p>a\nb</p></blockquote><p>c</p>"),
            ("* * *\n***", "<hr><hr>"),
            ("*a* **b** ***c*** `d*e*` ~~f~~", "<p><em>a</em> <strong>b</strong> <strong><em>c</em></strong> <code>d*e*</code> <del>f</del></p>"),
            ("*a **b** c*", "<p><em>a <strong>b</strong> c</em></p>"),
            ("2 * 3 * 4, 2*3*4, a_b_c, **, \\*d\\*, *e", "<p>2 * 3 * 4, 2*3*4, a_b_c, **, *d*, *e</p>"),
            ("``a ` b`` [c](d)", "<p><code>a ` b</code> [c](d)</p>"),
        ]:
            with self.subTest(text=text):
                self.assertEqual(self.html(text), html)

    def test_a_text_that_grows_is_at_each_length_what_it_is_as_a_whole(self):
        differing = self.script("""
            const html = (root) => [...root.childNodes].map((node) => node.className === "growing" ? html(node) : node.outerHTML).join("");
            const whole = (text) => { const root = document.createElement("div"); root.append(render(text)); return html(root); };
            const differing = [];
            for (const text of arguments_[0]) {
              for (const step of [1, 3, 7]) {
                const root = document.createElement("div");
                const writer = new Writer(root);
                for (let length = 0; length < text.length; length += step) {
                  writer.write(text.slice(0, length));
                  if (html(root) !== whole(text.slice(0, length))) differing.push(text.slice(0, length));
                }
                writer.end(text);
                if (html(root) !== whole(text)) differing.push(text);
              }
            }
            done(differing);""".replace("arguments_", json.dumps([[MARKDOWN, *MISLEADING, *HOSTILE]])))
        self.assertEqual(differing, [])

    def test_a_token_of_a_long_answer_costs_no_more_than_one_of_a_short_one(self):
        """Counted is what is made for a token, which takes the time: nodes, and characters read."""
        short, long = self.script("""
            const made = (times) => {
              const root = document.createElement("div");
              const writer = new Writer(root);
              const text = arguments_[0].repeat(times);
              for (let length = 0; length < text.length; length += 50) writer.write(text.slice(0, length));
              const create = document.createElement;
              let count = 0;
              document.createElement = function (name) { count++; return create.call(this, name); };
              try {
                for (let more = 0; more < arguments_[0].length; more++) writer.write(text + arguments_[0].slice(0, more));
              } finally {
                delete document.createElement;
              }
              return count;
            };
            done([made(2), made(200)]);""".replace("arguments_", json.dumps([MARKDOWN.replace("no end", "an end\n~~~\n\n")])))
        self.assertGreater(short, 0)
        self.assertEqual(long, short)

    def test_a_text_made_to_take_long_does_not(self):
        milliseconds = self.script("""
            const begun = performance.now();
            for (const part of ["*", "**a ", "`", "` ``", "_a ", "~~a", "|", "> ", "- ", "-", "#", "  ", "\\\\", "| a ", "*a**", "[", "1. "]) {
              render(part.repeat(20000 / part.length));
              render((part + "\\n").repeat(2000));
            }
            done([performance.now() - begun]);""")[0]
        # 680 kB of text; milliseconds each, on an idle machine.
        self.assertLess(milliseconds, 20_000)


class Kiosk(Case):
    def test_it_keeps_nothing_and_forgets_who_left(self):
        page = self.page
        page.open("/?kiosk&idle=8")
        self.assertIn("8 seconds", page.at("hint").text)
        self.assertGreaterEqual(page.js("return parseFloat(getComputedStyle(document.getElementById('text')).fontSize)"), 20)
        self.assertIn("Paris", page.ask(FRANCE))
        page.at("text").send_keys("A secret")
        self.assertEqual(page.js("return localStorage.length + sessionStorage.length"), 0)
        # Who is there is told before, and has it go on by any sign of life.
        page.until(lambda: page.at("state").text.startswith("Still there?"), SOON)
        self.assertIn("Still there?", page.at("told").get_attribute("textContent"))
        page.press(Keys.ARROW_LEFT)
        self.assertEqual(page.at("state").text, "")
        time.sleep(3)
        self.assertEqual(len(page.talk()), 2)
        page.until(lambda: page.talk() == [], SOON)
        self.assertTrue(page.shows("hint"))
        self.assertFalse(page.shows("undo"))
        self.assertFalse(page.shows("retry"))
        # The next visitor cannot get at what was written, neither by the keyboard nor by asking.
        for keys in ((Keys.CONTROL, "z"), (Keys.CONTROL, Keys.SHIFT, "z")):
            page.at("text").click()
            page.chord(*keys)
            self.assertEqual(page.at("text").get_property("value"), "")
        self.requests()
        page.ask("Hello")
        (body,) = self.asked()
        self.assertEqual(body["messages"], [{"role": "user", "content": "Hello"}])
        page.open("/?kiosk&idle=8")
        self.assertEqual(page.talk(), [])
        self.assertEqual(page.js("return localStorage.length + sessionStorage.length"), 0)

    def test_nobody_is_forgotten_while_the_answer_comes(self):
        page = self.page
        page.open("/?kiosk&idle=2")
        page.say(STORY)
        page.growing(1)
        time.sleep(4)
        self.assertTrue(page.shows("stop"), "the story is too short for this test")
        self.assertGreater(len(page.talk()[-1][1]), 1)
        page.at("stop").click()
        page.until(lambda: page.talk() == [], SOON)

    def test_an_idle_time_that_is_none_is_said_to_be_none(self):
        for wish in ("soon", "0", "-3", ""):
            self.page.open(f"/?kiosk&idle={wish}")
            self.assertEqual(self.page.at("state").text, f"idle={wish} is no number of seconds: a visitor is forgotten after 180.")
        self.page.open("/?kiosk")
        self.assertEqual(self.page.at("state").text, "")

    def test_the_page_without_it_forgets_nothing(self):
        page = self.page
        page.open("/?idle=1")
        page.ask(FRANCE)
        time.sleep(3)
        self.assertEqual(len(page.talk()), 2)


class Reading(Case):
    """What is seen, heard and touched."""

    def fill(self):
        """A conversation with all that may be in one."""
        turns = [
            {"role": "user", "content": "Show me all that Markdown has."},
            {"role": "assistant", "content": MARKDOWN + "x" * 200, "thought": "All of it."},
        ]
        self.page.js("localStorage.setItem('stonechat-talk', arguments[0])", json.dumps(turns))
        self.page.open()
        self.page.all("details")[0].click()

    def test_who_has_scrolled_up_stays_there(self):
        page = self.page
        page.size(500, 300)
        page.say(STORY)
        top = lambda: page.js("return document.getElementById('talk').scrollTop")
        height = lambda: page.js("return document.getElementById('talk').scrollHeight")
        rest = lambda: page.js("const talk = document.getElementById('talk'); return talk.scrollHeight - talk.clientHeight - talk.scrollTop")
        page.until(lambda: top() > 150, LONG)
        self.assertFalse(page.shows("end"))
        page.until(lambda: rest() < 4, SOON)
        ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(page.at("talk")), 0, -60).perform()
        page.until(lambda: page.shows("end"), SOON)
        time.sleep(1)  # the browser may scroll smoothly
        here, then = top(), height()
        page.until(lambda: height() > then + 60, LONG)
        self.assertEqual(top(), here)
        page.at("end").click()
        self.assertLess(rest(), 4)
        self.assertFalse(page.shows("end"))
        then = height()
        page.until(lambda: height() > then + 60, LONG)
        page.until(lambda: rest() < 4, SOON)
        page.at("stop").click()

    def test_the_focus_is_not_taken_away(self):
        page = self.page
        page.say(STORY)
        page.growing(20)
        page.js("document.getElementById('talk').focus()")
        page.press(Keys.ESCAPE)
        page.until(lambda: page.shows("send"), SOON)
        self.assertEqual(page.focused(), "talk")
        # It is not lost with a button that goes, either.
        page.at("text").send_keys(STORY)
        page.at("send").click()
        page.growing(20)
        self.assertEqual(page.focused(), "stop")
        page.at("stop").click()
        page.until(lambda: page.shows("send"), SOON)
        self.assertEqual(page.focused(), "text")
        # Where it is touched, the text would call a keyboard onto the answer.
        touch = {"enabled": True, "maxTouchPoints": 5}
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)
        self.addCleanup(browser.execute_cdp_cmd, "Emulation.setTouchEmulationEnabled", {"enabled": False})
        self.assertTrue(page.js("return matchMedia('(pointer: coarse)').matches"))
        page.at("text").send_keys(STORY)
        page.at("send").click()
        page.growing(20)
        page.at("stop").click()
        page.until(lambda: page.shows("send"), SOON)
        self.assertEqual(page.focused(), "send")

    def test_each_part_of_an_answer_is_read_out_once(self):
        page = self.page
        self.assertEqual(page.at("talk").get_attribute("aria-live"), "off")
        page.js("""
            window.heard = [];
            new MutationObserver((records) => {
              for (const { target, addedNodes } of records) {
                if (target.closest("[aria-hidden]")) continue;
                for (const node of addedNodes) {
                  if (target.className === "assistant" && !node.ariaHidden) heard.push([document.getElementById("talk").ariaLive, node.textContent]);
                }
              }
            }).observe(document.getElementById("talk"), { childList: true, subtree: true, characterData: true });""")
        page.say("List three things to see in Paris, each in a paragraph of its own.")
        page.until(lambda: len(page.talk()) == 2, SOON)
        self.assertEqual(page.at("talk").get_attribute("aria-live"), "polite")
        page.answer()
        heard = [said for said in page.js("return heard") if said[1]]
        parts = page.js("return [...document.querySelector('article.assistant').children].map((part) => part.textContent)")
        self.assertGreater(len(parts), 0)
        self.assertEqual(heard, [["polite", part] for part in parts])
        # Not what was said long ago.
        page.open()
        self.assertEqual(page.at("talk").get_attribute("aria-live"), "off")

    def test_everything_has_a_name(self):
        page = self.page
        self.fill()
        self.assertEqual(page.js("return document.documentElement.lang"), "en")
        self.assertEqual(len(page.all("h1")), 1)
        self.assertEqual(len(page.all("main")), 1)
        ids = page.js("return [...document.querySelectorAll('[id]')].map(({ id }) => id)")
        self.assertEqual(len(ids), len(set(ids)))
        tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]}
        for role, name in (("textbox", "Message"), ("log", "Conversation"), ("button", "Send"), ("button", "Retry"),
                           ("button", "New conversation"), ("article", "You"), ("article", "Answer"), ("heading", "Stonechat")):
            self.assertIn((role, name), named)
        for role, name in named:
            if role in ("button", "textbox", "log", "article", "heading", "link", "dialog", "DisclosureTriangle"):
                self.assertTrue(name, role)
        page.open(server=LOCKED_SERVER)
        page.until(lambda: page.shows("door"), SOON)
        self.assertEqual(page.at("door").accessible_name, "This server needs a key.")
        self.assertEqual([page.at(name).accessible_name for name in ("key", "leave", "enter")], ["Key", "Cancel", "Use this key"])
        browser.get_log("browser")

    def test_colours_can_be_told_apart(self):
        page = self.page
        backs = set()
        for scheme in ("light", "dark"):
            page.scheme(scheme)
            self.fill()
            article = "const node = document.getElementById('talk').appendChild(document.createElement('article')); node.className = 'error';"
            page.js(article + "node.textContent = 'An error'; document.getElementById('state').textContent = '7.0 tokens/s';"
                    "document.getElementById('hint').hidden = false; document.getElementById('end').hidden = false;")
            pairs = page.js(CONTRAST)
            self.assertGreater(len(pairs), 30)
            for what, ratio, least in pairs:
                self.assertGreaterEqual(ratio, least, f"{what} ({scheme})")
            backs.add(page.js("return getComputedStyle(document.documentElement).backgroundColor"))
        self.assertEqual(len(backs), 2)

    def test_fingers_find_everything_on_a_narrow_screen(self):
        page = self.page
        for width, height in ((320, 480), (360, 640), (1024, 768)):
            for path in ("/", "/?kiosk"):
                page.size(width, height)
                self.fill()
                page.open(path)
                if path == "/":
                    page.js("document.getElementById('talk').scrollTop = 0")
                    page.until(lambda: page.shows("end"), SOON)
                page.js("document.getElementById('state').textContent = '123.4 tokens/s'")
                self.assertLessEqual(page.js("return document.documentElement.scrollWidth"), width)
                self.assertLessEqual(page.js("return document.documentElement.scrollHeight"), height)
                if width < 1024:
                    # Nothing but code and tables, which scroll by themselves, is wider than the screen.
                    self.assertLessEqual(page.js("return document.getElementById('talk').scrollWidth"), width)
                for control in page.all("button, textarea"):
                    if control.is_displayed():
                        box = control.rect
                        self.assertGreaterEqual(min(box["width"], box["height"]), 44, control.get_attribute("id"))
                        self.assertLessEqual(box["x"] + box["width"], width, control.get_attribute("id"))

    def test_a_thought_stays_open(self):
        page = self.page
        self.fill()
        self.assertEqual([node.text for node in page.all("summary")], ["Thought"])
        self.assertTrue(page.all("details > div")[0].is_displayed())
        page.ask(FRANCE)
        self.assertTrue(page.all("details > div")[0].is_displayed())


class Small(Case):
    def test_the_page_is_small_and_asks_nobody_else(self):
        page = self.page
        page.open()
        page.ask(FRANCE)
        # What `tearDown` sees to holds for all that is asked for; that is something.
        asked = {request["url"].removeprefix(SERVER) for request in self.requests()}
        # (But the icon the browser may still have.)
        self.assertLessEqual({*FILES, "/v1/models", "/v1/chat/completions"}, asked | {"/icon.svg"})
        self.assertLessEqual(sum(len(get(path).encode()) for path in FILES), MOST_BYTES)


# The contrast of each text and each edge of a control that is seen, with what it should be at least (WCAG 2.2, AA).
CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const bytes = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
const light = (colour) => {
  const [r, g, b] = [...bytes(colour)].map((byte) => byte / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (one, other) => { const [low, high] = [light(one), light(other)].sort((a, b) => a - b); return (high + 0.05) / (low + 0.05); };
const back = (node) => { for (; node; node = node.parentElement) { const colour = getComputedStyle(node).backgroundColor; if (bytes(colour)[3]) return colour; } };
const pairs = [];
for (const node of document.querySelectorAll("body *")) {
  if (!node.checkVisibility() || node.closest(".unseen")) continue;
  const style = getComputedStyle(node);
  const name = node.localName + (node.id && "#" + node.id) + ": " + node.textContent.trim().slice(0, 20);
  if ([...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) pairs.push([name, ratio(style.color, back(node)), 4.5]);
  if (node.placeholder) pairs.push(["placeholder", ratio(getComputedStyle(node, "::placeholder").color, back(node)), 4.5]);
  if (node.matches("button, textarea")) pairs.push(["edge of " + name, ratio(style.borderTopColor, back(node.parentElement)), 3]);
}
return pairs;"""


def get(path):
    with urllib.request.urlopen(SERVER + path) as response:
        return response.read().decode()
