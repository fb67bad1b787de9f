"""How AWS CDK deploys this project.

First pack function.zip, then, in this folder: pip install -r requirements.txt, and cdk deploy.
In an account and region where CDK was never used before, cdk bootstrap comes first.
"""

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_, aws_s3 as s3, aws_s3_notifications as s3_notifications
from constructs import Construct

PACKAGE = Path(__file__).resolve().parent.parent / "function.zip"


class Project(cdk.Stack):
    """The function, its URL, and a bucket that invokes it."""

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        function = lambda_.Function(
            self,
            "Function",
            function_name=name,
            code=lambda_.Code.from_asset(str(PACKAGE)),
            handler="shim.handler",
            runtime=lambda_.Runtime("{{runtime}}", lambda_.RuntimeFamily.PYTHON),
            architecture=lambda_.Architecture.custom("{{architecture}}"),
            memory_size=128,
            timeout=cdk.Duration.seconds(10),
            logging_format=lambda_.LoggingFormat.JSON,
        )
        # Callers sign their requests. NONE would let in everybody who knows the URL.
        url = function.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
        # The function is told of what is uploaded here; uploads.grant_read(function) would let it read that, too.
        uploads = s3.Bucket(
            self,
            "Uploads",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        )
        uploads.add_event_notification(s3.EventType.OBJECT_CREATED, s3_notifications.LambdaDestination(function))
        cdk.CfnOutput(self, "Url", value=url.url, description="Where the function answers web requests.")
        cdk.CfnOutput(self, "Bucket", value=uploads.bucket_name, description="Where the uploads go.")


app = cdk.App()
Project(app, "{{name}}")
app.synth()
