"""What a server says when it begins: where it is, and three commands to try, which can be pasted as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shim.cli.display import STDERR, rendered, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from shim.local.deployment import Deployment

EVENT = '{"key": "value"}'


def commands(url: str, name: str, region: str) -> tuple[str, str, str]:
    """For curl, for the AWS CLI of either version, and for boto3. None of them needs credentials."""
    python = (
        f'import boto3, json; print(boto3.client("lambda", "{region}", endpoint_url="{url}", aws_access_key_id="none",'
        f' aws_secret_access_key="none").invoke(FunctionName="{name}", Payload=json.dumps({EVENT}))["Payload"].read().decode())'
    )
    aws = (  # version 2 wants a payload in base64, but for fileb://, which both versions read as it is
        f"echo '{EVENT}' | aws lambda invoke --endpoint-url {url} --region {region} --no-sign-request"
        f" --function-name {name} --payload fileb:///dev/stdin /dev/stdout"
    )
    return f"curl -d '{EVENT}' {url}/2015-03-31/functions/{name}/invocations", aws, f"python3 -c '{python}'"


def facts(deployment: Deployment, url: str) -> dict[str, str]:
    """What is served, and where."""
    function = deployment.function
    return {
        "Invoke API": url,
        "function URL": f"{url}/url/",
        "runs": f"{deployment.program}, {function.timeout:g} s, {function.memory} MB",
        "runtime": f"{deployment.runtime}, handler {function.handler}",
        "folder": function.folder,
    }


def lines(deployment: Deployment, url: str) -> bytes:
    """The same where there is no terminal."""
    function = deployment.function
    said = [f"serving {function.name} at {url}"]
    said += [f"{name}: {visible(fact)}" for name, fact in facts(deployment, url).items()]
    said += commands(url, function.name, _region(deployment))
    return "".join(f"{line}\n" for line in said).encode("utf-8", "backslashreplace")


def panel(deployment: Deployment, url: str) -> bytes:
    """The same for a terminal. The commands stand outside of the frame, and are broken by the terminal alone, so that they can be copied."""
    return rendered(STDERR, _parts(deployment, url)) + rendered(STDERR, _tries(deployment, url), soft_wrap=True)


def _parts(deployment: Deployment, url: str) -> Iterator[RenderableType]:
    from rich.panel import Panel  # noqa: PLC0415 - only for a terminal
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, fact in facts(deployment, url).items():
        grid.add_row(name, Text(visible(fact), "bold cyan" if fact.startswith(url) else ""))
    title = Text(f"shim serves {deployment.function.name}", "bold")
    yield Panel(grid, title=title, title_align="left", border_style="cyan")


def _tries(deployment: Deployment, url: str) -> Iterator[RenderableType]:
    from rich.text import Text  # noqa: PLC0415 - likewise

    yield Text("Try it; Ctrl-C ends it.", "dim")
    for command in commands(url, deployment.function.name, _region(deployment)):
        yield Text(f"\n{command}", "green")
    yield Text("")


def _region(deployment: Deployment) -> str:
    return deployment.function.environment["AWS_REGION"]
