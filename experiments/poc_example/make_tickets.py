"""Writes tickets.csv: 2,000 made-up support tickets with columns text and label, the same ones at every call.

    python experiments/poc_example/make_tickets.py

One ticket in twenty has a label that its text does not say, as in any desk's real data, so that nobody can be right
about all of them.
"""

import csv
import random
import sys

NUMBER = 2_000
WRONG = 0.05
TOPICS = {
    "billing": (
        ["I was charged twice for {thing}", "the invoice for {thing} shows the wrong amount", "my card was declined"],
        ["please refund the difference", "can you send a corrected invoice", "who do I ask about the payment"],
    ),
    "delivery": (
        ["{thing} has not arrived", "the parcel with {thing} came damaged", "tracking has not moved since {day}"],
        ["when will it be here", "can it go to another address", "the courier left no note"],
    ),
    "bug": (
        ["the page for {thing} stays blank", "the app crashes when I open {thing}", "I get error {code} since {day}"],
        ["it worked before the update", "I tried two browsers", "the log shows error {code}"],
    ),
    "account": (
        ["I cannot log in since {day}", "my password reset mail never comes", "please change the name on my account"],
        ["the code is not accepted", "I no longer have that phone", "close the account if that is easier"],
    ),
}
OPENINGS = ["", "Hello, ", "Hi team, ", "Good morning. ", "Again: ", "Second mail about this: "]
ASIDES = ["order {order}", "I have been a customer for years", "this is urgent", "thanks in advance", "no hurry"]
THINGS = ["the blue lamp", "the subscription", "two chairs", "the gift card", "the desk", "the spare part", "the album"]
DAYS = ["Monday", "Tuesday", "last week", "yesterday", "the weekend"]


def ticket(draw: random.Random, label: str) -> str:
    """A ticket about a topic; two in five say only one of the things that give the topic away."""
    problems, wishes = TOPICS[label]
    sentences = [draw.choice(problems), draw.choice(wishes)]
    if draw.random() < 0.4:
        sentences = [draw.choice(sentences)]
    if draw.random() < 0.25:  # a word about another topic
        other = draw.choice([name for name in TOPICS if name != label])
        sentences.append("and earlier " + draw.choice(TOPICS[other][0]))
    sentences.append(draw.choice(ASIDES))
    words = {
        "thing": draw.choice(THINGS),
        "day": draw.choice(DAYS),
        "code": str(draw.randint(400, 599)),
        "order": str(draw.randint(10_000, 99_999)),
    }
    return draw.choice(OPENINGS) + ", ".join(sentences).format(**words) + draw.choice([".", "!", " ..."])


def main(path: str) -> None:
    """Writes the file."""
    draw = random.Random(7)
    shares = {"billing": 4, "delivery": 3, "bug": 2, "account": 1}
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for _ in range(NUMBER):
            label = draw.choices(list(shares), list(shares.values()))[0]
            text = ticket(draw, label)
            rows.writerow([text, draw.choice(list(shares)) if draw.random() < WRONG else label])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tickets.csv")
