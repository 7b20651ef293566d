"""What the servers are asked: our own texts, other names and numbers in them every round.

So a round finds nothing of an earlier one's prompt, and a guesser of words that remembers answers
has at most the sense of them. All is decided by the round's number: both servers get the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from scripts.beside.client import Question

if TYPE_CHECKING:
    from scripts.beside.client import Messages

_TEXTS = Path(__file__).parent / "texts"
_CHARACTERS = 3.8  # of a token of these texts
_SYSTEM = "You are a careful assistant. You do exactly what is asked."

# Lists of different lengths, so that their combinations do not come back soon.
_WORDS: dict[str, tuple[str, ...]] = {
    "ship": ("Marigold", "Prudence", "Corncrake", "Old Alma", "Wanderer", "Petrel", "Two Sisters"),
    "keeper": ("Tobias", "Hanne", "Old Brodie", "Ismay", "Per Lund"),
    "clerk": ("Mrs Vane", "Miss Okafor", "Ada Quill", "Mrs Brandt", "Rosa Lind", "Miss Teller"),
    "port": ("Kestrel Bay", "Saltmere", "Norhaven", "Cold Quay", "Little Ferry", "Greystone",
             "Anholt", "Seven Stairs"),
    "light": ("Widow's Head", "Long Skerry", "Cape Patience", "the Needle", "Gannet Rock"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "month": ("March", "April", "May", "June", "August", "September", "October"),
    "hour": ("six", "seven", "eight", "nine", "ten"),
    "street": ("Rope Lane", "Chandler's Row", "Upper Quay", "Mill Steps", "Tar Street",
               "Well Alley", "Church Hill"),
    "Thing": ("Loan", "Invoice", "Deposit", "Booking", "Permit"),
    "thing": ("loan", "invoice", "deposit", "booking", "permit"),
    "Shelf": ("Library", "Ledger", "Archive", "Register", "Cabinet", "Drawer", "Folder"),
    "shelf": ("library", "ledger", "archive", "register", "cabinet", "drawer", "folder"),
    "amount": ("owed", "balance", "remaining", "open_sum"),
    "part": ("payment", "share", "amount", "portion", "instalment", "cents"),
}  # fmt: skip
_QUESTIONS = (
    "Who was on the wall when the $ship came in, and what did $keeper do?",
    "What did $clerk write in the narrow book, and why twice?",
    "Which light was the lens for, and how long had $light been dark?",
    "What became of the piano of the $ship?",
    "How was the lens carried up the hill from $port?",
    "What was said about ice in $month?",
    "What was the letter signed with?",
    "How many gulls did $keeper count, and when?",
)


def short(number: int) -> Question:
    """A question with an answer of 128 tokens."""
    return _asked(_fill("Tell me about the port of $port and the light at $light.", number), 128)


def greeting(number: int) -> Question:
    """The least that has an answer."""
    return _asked(_fill("Good morning from $port, it is $day.", number), 8)


def unseen(number: int, tokens: int) -> Question:
    """A prompt of about that many tokens that begins like no other; one token of answer."""
    return Question(messages=_report(number, tokens), tokens=1)


def at_once(number: int, count: int, temperature: float) -> list[Question]:
    """Short questions that differ, also from those of another temperature, with answers of 64 tokens."""
    kind = "Letter" if temperature == 0 else "Note"
    return [
        replace(
            _asked(_fill(f"{kind} {number}-{one}. {text}", number), 64), temperature=temperature
        )
        for one, text in enumerate(_QUESTIONS[:count])
    ]


def going_on(question: Question, answer: str) -> Question:
    """The conversation's next turn, with an answer of 64 tokens."""
    said = [*question.messages, {"role": "assistant", "content": answer}, _user("And then?")]
    return replace(question, messages=said, tokens=64)


def behind_one_text(number: int, tokens: int, count: int) -> list[Question]:
    """Questions behind a common system prompt of about that many tokens."""
    (system, _) = _report(number, tokens)
    return [
        Question(
            messages=[system, _user(_fill(_QUESTIONS[one], number))],
            tokens=16,
        )
        for one in range(count)
    ]


def conversation(number: int) -> tuple[Messages, list[str]]:
    """How a conversation begins, and what its user says by and by."""
    told = _sentences("harbour.txt", number)
    turns = [
        f"{' '.join(told[turn * 4 : turn * 4 + 4])} {_fill(_QUESTIONS[turn], number)}"
        for turn in range(6)
    ]
    return [_system(f"Conversation {number}. {_SYSTEM}")], turns


def copying(number: int) -> Question:
    """A text once more, one word of it changed."""
    text = " ".join(_sentences("harbour.txt", number)[:8])
    task = "Write the text again word for word, only call the ship Swallow"
    return _asked(f"{task}.\n\nText:\n{text}\n\n{task}. Begin with the first word.", 256, False)


def editing(number: int) -> Question:
    """A program once more, one method renamed."""
    code = _fill(_read("ledger.txt"), number)
    task = "Rename the method is_late to is_overdue and print the whole program again"
    return _asked(f"{task}.\n\n```python\n{code}```\n\n{task}.", 256, False)


def extraction(number: int) -> Question:
    """Fields of a letter as JSON, its quotations word for word."""
    letter = _fill(_read("orders.txt"), number)
    task = (
        "List the orders as a JSON array of objects with the keys order, customer, goods, "
        "delivery, payment, phone and quote, each copied word for word from the letter"
    )
    return _asked(f"Letter:\n{letter}\n{task}.", 256, False)


def prose(number: int) -> Question:
    """A story that repeats nothing of what was asked."""
    text = "Write a long story about $keeper, who keeps the light at $light in a stormy $month."
    return _asked(_fill(text, number), 256, False)


def filled(name: str, number: int) -> str:
    """A text with the names and numbers of that round."""
    return _fill(_read(name), number)


def _asked(text: str, tokens: int, endless: bool = True) -> Question:
    return Question(messages=[_system(_SYSTEM), _user(text)], tokens=tokens, endless=endless)


def _report(number: int, tokens: int) -> Messages:
    """A system prompt of about `tokens` tokens, and a question about it."""
    sentences = _sentences("harbour.txt", number)
    text, entry = f"Report {number} of the harbour office.", 0
    while len(text) < tokens * _CHARACTERS:
        text += f" {entry + 1}. {sentences[(entry * 7 + number) % len(sentences)]}"
        entry += 1
    return [_system(text), _user("What happened to the piano?")]


def _sentences(name: str, number: int) -> list[str]:
    return _fill(_read(name), number).splitlines()


def _read(name: str) -> str:
    return (_TEXTS / name).read_text(encoding="utf-8")


def _fill(text: str, number: int) -> str:
    words = {name: choices[number % len(choices)] for name, choices in _WORDS.items()}
    return Template(text).substitute(words, number=100 + 37 * number % 900)


def _system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
