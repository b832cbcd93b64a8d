"""
What the runners have in common: how minions are asked, and how an answer is given.

The client of Salt's is handed in; nothing here knows Salt.
"""

import contextlib
import time

# For what one minion does on its own, in seconds: calicoctl may take 20 by itself.
DEADLINE = 120


class Failed(Exception):
    """A minion could not do what it was asked; the text says which and why."""


def misuse(timeout, test=False, format="text", formats=("text", "json")):
    """What is wrong with the arguments that every function has (text), or None."""
    if format not in formats:
        return "format: got '%s'; accepted: %s" % (format, ", ".join(formats))
    if not isinstance(test, bool):
        return "test: got '%s'; accepted: True, False" % (test,)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
        return "timeout: got '%s'; accepted: a number of seconds above 0" % (timeout,)
    return None


class Text(dict):
    """
    Text as ``salt-run`` prints it plainly, with a return code.

    A runner's return is shown plainly only where its keys are just ``data`` and ``outputter``, and
    ``salt-run`` takes its return code from the key ``retcode`` (no other way leads there but an exception
    with its traceback). So that key can be asked for and does not show. And ``data`` shows and cannot be
    asked for: Salt would take it for results of states.
    """

    def __init__(self, text, retcode):
        super().__init__(data=text, outputter="raw")
        self._retcode = retcode

    def __contains__(self, key):
        return key == "retcode" or (key != "data" and super().__contains__(key))

    def __missing__(self, key):
        if key == "retcode":
            return self._retcode
        raise KeyError(key)


def report(context, found, text, format="text"):
    """What a runner returns: all that was found, or the text of it; ``retcode`` is the exit code."""
    # For those who ask by the API or from an orchestration: `success` follows from it.
    context["retcode"] = found["retcode"]
    return dict(found, outputter="json") if format == "json" else Text(text, found["retcode"])


def ask(client, patience, tgt, function, tgt_type="glob", timeout=DEADLINE, arg=(), **keywords):
    """
    What minions say: ``(answers, failed, silent)``, two dicts by minion and a list of minions.

    Waits as long as Salt itself does for minions that do not answer (``patience``), longer for those that are
    at work, and never longer than ``timeout`` (seconds).
    """
    answers, failed = {}, {}
    patience = min(timeout, patience)
    job = client.run_job(tgt, function, arg, tgt_type=tgt_type, kwarg=keywords, timeout=patience, listen=True)
    if not job or not job.get("minions"):
        return answers, failed, []
    end = time.monotonic() + timeout
    returns = client.get_iter_returns(
        job["jid"], set(job["minions"]), timeout=patience, tgt=tgt, tgt_type=tgt_type, block=False
    )
    with contextlib.closing(returns):
        for returned in returns:
            if time.monotonic() > end:
                break
            if not returned:
                time.sleep(0.02)
                continue
            for minion, answer in returned.items():
                if "ret" not in answer:
                    continue
                said = answer["ret"]
                # An error is told as text, with a return code.
                if answer.get("retcode") and isinstance(said, str):
                    failed[minion] = str(said)
                else:
                    answers[minion] = said
    silent = set(job["minions"]) - set(answers) - set(failed)
    return answers, failed, sorted(silent)


def ask_one(asking, minion, function, *arg, **keywords):
    """
    What one minion says; raises :class:`Failed`.

    asking
        :func:`ask`, with the client that it needs.
    """
    answers, failed, _silent = asking([minion], function, tgt_type="list", arg=arg, **keywords)
    if minion in answers:
        return answers[minion]
    raise Failed("%s: %s: %s" % (minion, function, failed.get(minion, "no answer")))
