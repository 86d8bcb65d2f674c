"""Tested rules as JUnit's XML, which CI systems show: a suite a rule, a case a test.

Owns that form. Without times: nothing here reads a clock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from dosimeter.detectors.findings import Finding
from dosimeter.rules.testing.tested import Tested, explained
from dosimeter.rules.testing.tested_text import told

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def as_junit(tested: Sequence[Tested], refused: Sequence[Finding] = ()) -> bytes:
    """refused: errors in the files, each a case of a suite `lint`."""
    root = ElementTree.Element("testsuites", name="dosimeter rules test")
    if refused:
        count = str(len(refused))
        suite = ElementTree.SubElement(
            root, "testsuite", name="lint", tests=count, failures="0", errors=count, skipped="0"
        )
        for finding in refused:
            case = ElementTree.SubElement(
                suite, "testcase", classname="lint", name=_xml(finding.message),
                file=_xml(finding.place.name), line=str(finding.place.line),
            )  # fmt: skip
            error = ElementTree.SubElement(case, "error", message=_xml(finding.message))
            error.text = _xml(str(finding))
    for one in tested:
        failures = len(one.failed) if not one.unplaced else 0
        errors = len(one.tests) if one.unplaced else 0
        suite = ElementTree.SubElement(
            root, "testsuite", name=_xml(one.rule.id), tests=str(len(one.tests)),
            failures=str(failures), errors=str(errors), skipped="0",
        )  # fmt: skip
        verdicts = {verdict.test.name: verdict for verdict in one.verdicts}
        for test in one.tests:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_xml(one.rule.id), name=_xml(test.name),
                file=_xml(test.place.name), line=str(test.place.line),
            )  # fmt: skip
            verdict = verdicts.get(test.name)
            if verdict is None:
                error = ElementTree.SubElement(case, "error", message=_xml(one.unplaced))
                error.text = str(one.rule.place)
            elif not verdict.passed:
                expected, happened = told(verdict)
                said = f"expected {expected}, happened {happened}"
                failure = ElementTree.SubElement(case, "failure", message=_xml(said))
                failure.text = _xml("\n".join([str(test.place), *explained(one, verdict)]))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
