"""Chromium without a screen, at the page of a running server.

scripts/page.sh starts the servers (SmolLM2) and names them in STONECHAT_SERVER and STONECHAT_LOCKED_SERVER; the latter asks for
STONECHAT_KEY.
"""

import json
import os
import shutil

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SERVER = os.environ["STONECHAT_SERVER"]
LOCKED_SERVER = os.environ["STONECHAT_LOCKED_SERVER"]
KEY = os.environ["STONECHAT_KEY"]
# What the page does takes moments; the model's answers take their time, on a machine that does other things too.
SOON, LONG = 20, 300


def start():
    """A browser, which finds nothing but this machine. Raises where there is none."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    options.unhandled_prompt_behavior = "ignore"
    arguments = ["headless=new", "disable-gpu", "disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    # Chromium's sandbox does not work for root.
    for argument in arguments + ["no-sandbox"] * (os.geteuid() == 0):
        options.add_argument(f"--{argument}")
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver"))


class Page:
    """The page, and what a reader sees and does there."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, path="/", server=SERVER):
        self.browser.get(server + path)
        self.until(lambda: self.browser.execute_script("return document.getElementById('hint').textContent"), SOON)

    def size(self, width, height, scale=1):
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        )

    def scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def reaches_the_server(self, does):
        conditions = {"offline": not does, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def until(self, condition, seconds):
        return WebDriverWait(self.browser, seconds, 0.05).until(lambda _: condition())

    def at(self, name):
        return self.browser.find_element(By.ID, name)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def shows(self, name):
        return self.at(name).is_displayed()

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def press(self, *keys):
        """Keys, to whatever has the focus."""
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def chord(self, *keys):
        """Keys at the same time."""
        actions = webdriver.ActionChains(self.browser)
        for key in keys:
            actions.key_down(key)
        for key in reversed(keys):
            actions.key_up(key)
        actions.perform()

    def focused(self):
        return self.js("return document.activeElement.id")

    def talk(self):
        """Who said what, as it is seen."""
        return [tuple(said) for said in self.js("""
            return [...document.querySelectorAll("#talk article")].map((said) => [said.className, said.innerText.trim()])""")]

    def kept(self):
        return json.loads(self.js("return localStorage.getItem('stonechat-talk')") or "[]")

    def say(self, text):
        self.at("text").send_keys(text, Keys.ENTER)

    def ask(self, text):
        """Asks, and waits for the answer, which is returned."""
        said = len(self.talk())
        self.say(text)
        self.until(lambda: len(self.talk()) > said + 1, SOON)
        return self.answer()

    def answer(self):
        """The last answer, when it has ended."""
        self.until(lambda: not self.shows("stop"), LONG)
        role, text = self.talk()[-1]
        assert role == "assistant", (role, text)
        return text

    def growing(self, letters):
        """Waits until an answer has so many letters, and is not at its end."""
        self.until(lambda: len(self.talk()[-1][1]) >= letters and self.talk()[-1][0] == "assistant", LONG)
        assert self.shows("stop"), f"the answer ended too soon: {self.talk()[-1]}"
