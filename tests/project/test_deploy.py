"""How a project is deployed: SAM, Serverless and CDK, each run as the project's README says, make the same function of the same package.

Nothing is deployed: what a tool would ask of CloudFormation is known without credentials, network and Docker.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from shim.project.new import Project, make
from tests.project.tools import CDK_APP, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROJECTS = [
    Project("orders-2", "c", "oneshot", "python3.11", "arm64"),
    Project("true", "c", "oneshot", "python3.12", "x86_64"),  # in YAML a text only where it is quoted
    Project("No", "c", "oneshot", "python3.13", "arm64"),
    Project("Z" * 40, "c", "oneshot", "python3.14", "x86_64"),
]
"""Each runtime, each architecture, and names of all sorts."""

SILENCE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "CDK_DISABLE_CLI_TELEMETRY": "true",
    "CDK_DISABLE_VERSION_CHECK": "1",
    "SAM_CLI_TELEMETRY": "0",
    "SLS_NOTIFICATIONS_MODE": "off",
    "SLS_TELEMETRY_DISABLED": "1",
}
"""Nobody is asked for news, or told any."""

VALIDATE = ["sam", "validate", "--lint"]
LINT = ["cfn-lint", "template.yaml"]
PACKAGE = ["serverless", "package"]
SYNTH = ["cdk", "synth", "--no-notices", "--quiet"]
LINT_MADE = ["cfn-lint", "--ignore-checks", "W3005", "--", "made.json"]
"""W3005: CDK says twice what some resources depend on."""

TRANSLATE = """
import json
from samcli.yamlhelper import parse_yaml_file
from samtranslator.translator.transform import transform
template = parse_yaml_file("template.yaml")
function = template["Resources"]["Function"]["Properties"]
function["CodeUri"] = "s3://bucket/" + function["CodeUri"] # sam deploy uploads the file, and says here where it is then
class NoPolicies:
    load = dict
print(json.dumps(transform(template, {}, NoPolicies())))
"""
"""SAM's own translation to CloudFormation, which else takes place on AWS."""


class Deployment(NamedTuple):
    """What a tool would deploy.

    Attributes:
        template: CloudFormation's.
        package: the file that it would upload as the function's code.
    """

    template: dict[str, Any]
    package: Path


@pytest.fixture
def render(tmp_path: Path) -> Callable[[Project], Path]:
    """Makes a project, with a package where packing puts it."""

    def rendered(project: Project) -> Path:
        folder = tmp_path / project.name
        make(project, str(folder))
        with zipfile.ZipFile(folder / "function.zip", "w") as package:
            package.writestr("shim.toml", f'executable = "{project.name}"\n')
        return folder

    return rendered


def run(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a tool in a project's folder, without anything of the user's own configuration."""
    tool = program(command[0])
    environment = {
        **SILENCE,
        **CDK_APP.environment,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "HOME": str(folder.parent),
        "LANG": "C.UTF-8",
        "PATH": f"{CDK_APP.programs}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        [str(tool), *command[1:]],
        cwd=folder / "cdk" if command[0] == "cdk" else folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def succeed(folder: Path, command: list[str]) -> str:
    """What a tool says, which has to succeed."""
    ended = run(folder, command)

    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def by_sam(folder: Path) -> Deployment:
    """What `sam deploy` would deploy."""
    template = json.loads(succeed(folder, ["python", "-c", TRANSLATE]))
    return Deployment(template, folder / function_of(template)[1]["Code"]["S3Key"])


def by_serverless(folder: Path) -> Deployment:
    """What `serverless deploy` would deploy."""
    succeed(folder, PACKAGE)
    made = folder / ".serverless"
    template = json.loads((made / "cloudformation-template-update-stack.json").read_text())
    state = json.loads((made / "serverless-state.json").read_text())
    return Deployment(template, folder / state["package"]["artifact"])


def by_cdk(folder: Path) -> Deployment:
    """What `cdk deploy` would deploy."""
    succeed(folder, SYNTH)
    made = folder / "cdk" / "cdk.out"
    template = json.loads((made / f"{folder.name}.template.json").read_text())
    assets = json.loads((made / f"{folder.name}.assets.json").read_text())["files"]
    key = function_of(template)[1]["Code"]["S3Key"]
    return Deployment(template, made / assets[key.removesuffix(".zip")]["source"]["path"])


TOOLS = {"sam": by_sam, "serverless": by_serverless, "cdk": by_cdk}


def facts(deployment: Deployment) -> dict[str, object]:
    """What of a deployment is promised."""
    template, package = deployment
    name, function = function_of(template)
    ((url, address),) = of_type(template, "AWS::Lambda::Url").items()
    ((bucket, events, invoked, after),) = notifications(template)
    settings = template["Resources"][bucket]["Properties"]
    permissions = of_type(template, "AWS::Lambda::Permission")
    ours = {"Ref": name}, {"Fn::GetAtt": [name, "Arn"]}
    return {
        "name": function["FunctionName"],
        "handler": function["Handler"],
        "runtime": function["Runtime"],
        "architectures": function["Architectures"],
        "memory": function["MemorySize"],
        "timeout": function["Timeout"],
        "log": function.get("LoggingConfig"),
        "package": sha256(package.read_bytes()).hexdigest(),
        "url": (address["AuthType"], address["TargetFunctionArn"] in ours),
        "url is told": {"Fn::GetAtt": [url, "FunctionUrl"]} in [said["Value"] for said in template["Outputs"].values()],
        "uploads": (events, invoked in ours),
        "uploads are encrypted": "AES256" in json.dumps(settings.get("BucketEncryption")),
        "uploads are private": settings.get("PublicAccessBlockConfiguration"),
        "permissions": [permitted(permission, ours) for permission in permissions.values()],
        "permitted in time": not set(permissions).isdisjoint(after),
    }


def promised(project: Project, folder: Path, tool: str) -> dict[str, object]:
    """What is promised of a project, whatever tool deploys it."""
    blocks = ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"]
    return {
        "name": project.name
        + ("-dev" if tool == "serverless" else ""),  # Serverless deploys several stages of a project
        "handler": "shim.handler",
        "runtime": project.runtime,
        "architectures": [project.architecture],
        "memory": 128,
        "timeout": 10,
        "log": {"LogFormat": "JSON"},
        "package": sha256((folder / "function.zip").read_bytes()).hexdigest(),
        "url": ("AWS_IAM", True),
        "url is told": True,
        "uploads": (["s3:ObjectCreated:*"], True),
        "uploads are encrypted": True,
        "uploads are private": dict.fromkeys(blocks, True),
        "permissions": [("lambda:InvokeFunction", "s3.amazonaws.com", {"Ref": "AWS::AccountId"}, True)],
        "permitted in time": True,
    }


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of each resource of a type."""
    resources = template["Resources"].items()
    return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}


def function_of(template: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The one function that is deployed as a package. CDK has another, its code in the template, which tells the bucket whom to invoke."""
    functions = of_type(template, "AWS::Lambda::Function").items()
    (found,) = [(name, function) for name, function in functions if "ZipFile" not in function["Code"]]
    return found


def notifications(template: dict[str, Any]) -> Iterator[tuple[str, list[str], object, list[str]]]:
    """Each notification of a bucket: the bucket, the events, the function, and what is there before."""
    for name, resource in template["Resources"].items():
        properties, after = resource.get("Properties", {}), resource.get("DependsOn", [])
        told = properties.get("NotificationConfiguration", {})
        for one in told.get("LambdaConfigurations", []):  # CloudFormation's own
            yield name, [one["Event"]], one["Function"], after
        for one in told.get("LambdaFunctionConfigurations", []):  # CDK's
            yield properties["BucketName"]["Ref"], one["Events"], one["LambdaFunctionArn"], after


def permitted(permission: dict[str, Any], ours: tuple[object, ...]) -> tuple[object, ...]:
    """What may be done, by whom, for which account, and whether with our function."""
    told = [permission.get(name) for name in ("Action", "Principal", "SourceAccount")]
    return *told, permission["FunctionName"] in ours


def change(path: Path, right: str, wrong: str) -> None:
    """Plants a mistake."""
    text = path.read_text()
    assert text.count(right) == 1

    path.write_text(text.replace(right, wrong))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.runtime)
@pytest.mark.parametrize("command", [VALIDATE, LINT], ids=lambda command: command[0])
def test_sam_and_cfn_lint_find_nothing_wrong(
    command: list[str], project: Project, render: Callable[[Project], Path]
) -> None:
    said = succeed(render(project), command)

    assert said == "" if command is LINT else "is a valid SAM Template" in said


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.runtime)
@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_deploys_what_is_promised(tool: str, project: Project, render: Callable[[Project], Path]) -> None:
    """And cfn-lint, which knows the schema of each resource and the name of each runtime, finds nothing wrong with it."""
    folder = render(project)
    deployment = TOOLS[tool](folder)
    (folder / "made.json").write_text(json.dumps(deployment.template))

    assert facts(deployment) == promised(project, folder, tool)
    assert succeed(folder, LINT_MADE) == ""


@pytest.mark.parametrize(
    ("command", "file", "right", "wrong", "named"),
    [
        (VALIDATE, "template.yaml", "Handler:", "Handlers:", "Handlers"),
        (LINT, "template.yaml", "MemorySize: 128", "MemorySize: 12", "12 is less"),
        (PACKAGE, "serverless.yml", "memorySize:", "memory:", "memory"),
        (SYNTH, "cdk/app.py", "handler=", "handlers=", "handlers"),
        (SYNTH, "cdk/app.py", '"function.zip"', '"functions.zip"', "functions.zip"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_tool_finds_a_mistake(
    command: list[str], file: str, right: str, wrong: str, named: str, render: Callable[[Project], Path]
) -> None:
    folder = render(PROJECTS[0])
    change(folder / file, right, wrong)
    found = run(folder, command)

    assert found.returncode != 0
    assert named in found.stdout


@pytest.mark.parametrize(
    ("tool", "file", "right", "wrong", "different"),
    [
        ("sam", "template.yaml", "AuthType: AWS_IAM", "AuthType: NONE", {"url", "permissions"}),
        ("sam", "template.yaml", "s3:ObjectCreated:*", "s3:ObjectRemoved:*", {"uploads"}),
        (
            "sam",
            "template.yaml",
            "RestrictPublicBuckets: true",
            "RestrictPublicBuckets: false",
            {"uploads are private"},
        ),
        (
            "serverless",
            "serverless.yml",
            "authorizer: aws_iam",
            "cors: true",
            {"url", "permissions"},
        ),
        ("cdk", "cdk/app.py", "LoggingFormat.JSON", "LoggingFormat.TEXT", {"log"}),
    ],
)
def test_a_broken_promise_is_found(
    tool: str, file: str, right: str, wrong: str, different: set[str], render: Callable[[Project], Path]
) -> None:
    """What no tool would object to."""
    folder = render(PROJECTS[0])
    change(folder / file, right, wrong)
    found, wanted = facts(TOOLS[tool](folder)), promised(PROJECTS[0], folder, tool)

    assert {name for name in wanted if found[name] != wanted[name]} == different


@pytest.mark.parametrize(("tool", "file"), [("sam", "template.yaml"), ("serverless", "serverless.yml")])
def test_a_runtime_that_is_none_is_found(tool: str, file: str, render: Callable[[Project], Path]) -> None:
    """By cfn-lint, in what is made: the tools hand it on unread."""
    folder = render(PROJECTS[0])
    change(folder / file, "Runtime: python3.11", "Runtime: python3.1")
    (folder / "made.json").write_text(json.dumps(TOOLS[tool](folder).template))
    found = run(folder, LINT_MADE)

    assert found.returncode != 0
    assert "python3.1" in found.stdout
