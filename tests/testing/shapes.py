"""The shapes of AWS's events as JSON Schemas, written by hand from AWS's documentation: no more members than are known, and each of its type."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
SWITCH: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}
DIGITS: Schema = {"type": "string", "pattern": "^[0-9]+$"}
HASH: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
HASH_OF_PARTS: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}(-[1-9][0-9]{0,4})?$"}
UUID: Schema = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
BASE64: Schema = {"type": "string", "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}(==|[A-Za-z0-9+/]=))?$"}
MILLISECONDS: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
SECONDS: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
LOG_TIME: Schema = {"type": "string", "pattern": r"^\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000$"}
REGION: Schema = {"type": "string", "pattern": r"^[a-z]{2}(-gov)?-[a-z]+-\d$"}
ACCOUNT: Schema = {"type": "string", "pattern": r"^\d{12}$"}
METHOD: Schema = {"enum": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]}


def arn(service: str, resource: str, *, region: str = "[a-z0-9-]+", account: str = r"\d{12}") -> Schema:
    return {"type": "string", "pattern": f"^arn:aws(-cn|-us-gov)?:{service}:{region}:{account}:{resource}$"}


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def members(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object that has these, and may have those, and nothing else."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | {name.replace("__", "-"): schema for name, schema in optional.items()},
        "additionalProperties": False,
    }


def a_map(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def some(of: Schema, *, at_most: int | None = None) -> Schema:
    return {"type": "array", "minItems": 1, "items": of} | ({} if at_most is None else {"maxItems": at_most})


def records(of: Schema, *, at_most: int | None = None) -> Schema:
    return members({"Records": some(of, at_most=at_most)})


# "Event message structure", Amazon S3 User Guide
S3 = records(
    members(
        {
            "eventVersion": {"enum": ["2.1", "2.2", "2.3"]},
            "eventSource": {"const": "aws:s3"},
            "awsRegion": REGION,
            "eventTime": MILLISECONDS,
            "eventName": {"type": "string", "pattern": "^Object(Created|Removed|Restore|Tagging):[A-Za-z]+$"},
            "userIdentity": members({"principalId": TEXT}),
            "requestParameters": members({"sourceIPAddress": TEXT}),
            "responseElements": members({"x-amz-request-id": TEXT, "x-amz-id-2": TEXT}),
            "s3": members(
                {
                    "s3SchemaVersion": {"const": "1.0"},
                    "configurationId": TEXT,
                    "bucket": members(
                        {
                            "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"},
                            "ownerIdentity": members({"principalId": TEXT}),
                            "arn": arn("s3", ".+", region="", account=""),
                        }
                    ),
                    "object": members(
                        {"key": {"type": "string", "pattern": r"^[A-Za-z0-9+%/._~*-]+$"}},
                        size=WHOLE,
                        eTag=HASH_OF_PARTS,
                        versionId=TEXT,
                        sequencer={"type": "string", "pattern": "^[0-9A-F]{16,}$"},
                    ),
                }
            ),
        },
        glacierEventData=members(
            {
                "restoreEventData": members(
                    {"lifecycleRestorationExpiryTime": MILLISECONDS, "lifecycleRestoreStorageClass": TEXT}
                )
            }
        ),
    )
)

# "Using Lambda with Amazon SQS", AWS Lambda Developer Guide
SQS = records(
    members(
        {
            "messageId": UUID,
            "receiptHandle": TEXT,
            "body": {"type": "string", "minLength": 1},
            "attributes": members(
                {
                    "ApproximateReceiveCount": DIGITS,
                    "SentTimestamp": DIGITS,
                    "SenderId": TEXT,
                    "ApproximateFirstReceiveTimestamp": DIGITS,
                },
                SequenceNumber=DIGITS,
                MessageGroupId=TEXT,
                MessageDeduplicationId=TEXT,
                AWSTraceHeader=TEXT,
                DeadLetterQueueSourceArn=arn("sqs", ".+"),
            ),
            "messageAttributes": a_map(
                members(
                    {
                        "dataType": {"type": "string", "pattern": r"^(String|Number|Binary)(\..+)?$"},
                        "stringListValues": {"const": []},
                        "binaryListValues": {"const": []},
                    },
                    stringValue=TEXT,
                    binaryValue=BASE64,
                )
            ),
            "md5OfBody": HASH,
            "eventSource": {"const": "aws:sqs"},
            "eventSourceARN": arn("sqs", r"[A-Za-z0-9_-]{1,80}(\.fifo)?"),
            "awsRegion": REGION,
        },
        md5OfMessageAttributes=either(HASH, NULL),
    ),
    at_most=10_000,
)

# "Using Lambda with Amazon SNS", AWS Lambda Developer Guide
SNS = records(
    members(
        {
            "EventSource": {"const": "aws:sns"},
            "EventVersion": {"const": "1.0"},
            "EventSubscriptionArn": arn("sns", f"[A-Za-z0-9_-]{{1,256}}:{UUID['pattern'][1:-1]}"),
            "Sns": members(
                {
                    "Type": {"const": "Notification"},
                    "MessageId": UUID,
                    "TopicArn": arn("sns", "[A-Za-z0-9_-]{1,256}"),
                    "Subject": either(NULL, {"type": "string", "minLength": 1, "maxLength": 100}),
                    "Message": {"type": "string", "minLength": 1},
                    "Timestamp": MILLISECONDS,
                    "SignatureVersion": {"enum": ["1", "2"]},
                    "Signature": BASE64,
                    "SigningCertUrl": {"type": "string", "pattern": "^https://sns[.].*[.]pem$"},
                    "UnsubscribeUrl": {"type": "string", "pattern": "^https://sns[.].*[?]Action=Unsubscribe&"},
                    "MessageAttributes": a_map(
                        members({"Type": {"enum": ["String", "String.Array", "Number", "Binary"]}, "Value": TEXT})
                    ),
                }
            ),
        }
    ),
    at_most=1,
)

# "Using Lambda to process records from Amazon Kinesis Data Streams", AWS Lambda Developer Guide
KINESIS = records(
    members(
        {
            "kinesis": members(
                {
                    "kinesisSchemaVersion": {"const": "1.0"},
                    "partitionKey": {"type": "string", "minLength": 1, "maxLength": 256},
                    "sequenceNumber": DIGITS,
                    "data": BASE64,
                    "approximateArrivalTimestamp": {"type": "number", "minimum": 0, "maximum": 4_102_444_800},
                }
            ),
            "eventSource": {"const": "aws:kinesis"},
            "eventVersion": {"const": "1.0"},
            "eventID": {"type": "string", "pattern": r"^shardId-\d{12}:\d+$"},
            "eventName": {"const": "aws:kinesis:record"},
            "invokeIdentityArn": arn("iam", "role/.+", region=""),
            "awsRegion": REGION,
            "eventSourceARN": arn("kinesis", "stream/[A-Za-z0-9_.-]{1,128}"),
        }
    )
)

# "Using Lambda with Amazon DynamoDB", AWS Lambda Developer Guide; AttributeValue, Record and StreamRecord, DynamoDB API Reference
NUMBER: Schema = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}
VALUE: Schema = {
    "minProperties": 1,
    "maxProperties": 1,
    **members(
        {},
        S=TEXT,
        N=NUMBER,
        B=BASE64,
        BOOL=SWITCH,
        NULL={"const": True},
        SS=some(TEXT),
        NS=some(NUMBER),
        BS=some(BASE64),
        L={"type": "array", "items": {"$ref": "#/$defs/value"}},
        M=a_map({"$ref": "#/$defs/value"}),
    ),
}
ITEM = a_map({"$ref": "#/$defs/value"})
DYNAMODB = {
    "$defs": {"value": VALUE},
    **records(
        members(
            {
                "eventID": HASH,
                "eventName": {"enum": ["INSERT", "MODIFY", "REMOVE"]},
                "eventVersion": {"const": "1.1"},
                "eventSource": {"const": "aws:dynamodb"},
                "awsRegion": REGION,
                "dynamodb": members(
                    {
                        "ApproximateCreationDateTime": {"type": "number", "multipleOf": 1, "maximum": 4_102_444_800},
                        "Keys": ITEM,
                        "SequenceNumber": {"type": "string", "pattern": r"^\d{21,40}$"},
                        "SizeBytes": {"type": "integer", "minimum": 1},
                        "StreamViewType": {"enum": ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]},
                    },
                    NewImage=ITEM,
                    OldImage=ITEM,
                ),
                "eventSourceARN": arn("dynamodb", r"table/[A-Za-z0-9_.-]+/stream/\d{4}-\d\d-\d\dT[0-9:]{8}\.\d{3}"),
            },
            userIdentity=members({"type": {"const": "Service"}, "principalId": {"const": "dynamodb.amazonaws.com"}}),
        )
    ),
}

# "Event structure reference", Amazon EventBridge User Guide
EVENTBRIDGE = members(
    {
        "version": {"const": "0"},
        "id": UUID,
        "detail-type": TEXT,
        "source": TEXT,
        "account": ACCOUNT,
        "time": SECONDS,
        "region": REGION,
        "resources": {"type": "array", "items": {"type": "string", "pattern": "^arn:"}},
        "detail": {"type": "object"},
    },
    replay__name=TEXT,
)

# "Lambda proxy integrations in API Gateway", API Gateway Developer Guide
APIGATEWAY = members(
    {
        "resource": TEXT,
        "path": TEXT,
        "httpMethod": METHOD,
        "headers": a_map(TEXT),
        "multiValueHeaders": a_map(some(TEXT)),
        "queryStringParameters": either(NULL, a_map(TEXT) | {"minProperties": 1}),
        "multiValueQueryStringParameters": either(NULL, a_map(some(TEXT)) | {"minProperties": 1}),
        "pathParameters": either(NULL, a_map(TEXT)),
        "stageVariables": either(NULL, a_map(TEXT)),
        "requestContext": members(
            {
                "resourceId": TEXT,
                "resourcePath": TEXT,
                "httpMethod": METHOD,
                "extendedRequestId": TEXT,
                "requestTime": LOG_TIME,
                "path": TEXT,
                "accountId": ACCOUNT,
                "protocol": {"const": "HTTP/1.1"},
                "stage": TEXT,
                "domainPrefix": TEXT,
                "requestTimeEpoch": WHOLE,
                "requestId": UUID,
                "identity": members(
                    {
                        "cognitoIdentityPoolId": NULL,
                        "accountId": NULL,
                        "cognitoIdentityId": NULL,
                        "caller": NULL,
                        "sourceIp": TEXT,
                        "principalOrgId": NULL,
                        "accessKey": NULL,
                        "cognitoAuthenticationType": NULL,
                        "cognitoAuthenticationProvider": NULL,
                        "userArn": NULL,
                        "userAgent": TEXT,
                        "user": NULL,
                    },
                    apiKey=TEXT,
                    apiKeyId=TEXT,
                ),
                "domainName": TEXT,
                "deploymentId": TEXT,
                "apiId": TEXT,
            },
            authorizer={"type": "object"},
        ),
        "body": either(NULL, {"type": "string", "minLength": 1}),
        "isBase64Encoded": SWITCH,
    }
)

# "Create AWS Lambda proxy integrations for HTTP APIs", API Gateway Developer Guide; "Invoking Lambda function URLs", AWS Lambda Developer Guide
PAYLOAD_2 = members(
    {
        "version": {"const": "2.0"},
        "routeKey": TEXT,
        "rawPath": {"type": "string", "pattern": "^/"},
        "rawQueryString": TEXT,
        "headers": a_map(TEXT) | {"propertyNames": {"pattern": "^[^A-Z]+$"}},
        "requestContext": members(
            {
                "accountId": either(ACCOUNT, {"const": "anonymous"}),
                "apiId": TEXT,
                "domainName": TEXT,
                "domainPrefix": TEXT,
                "http": members(
                    {"method": METHOD, "path": TEXT, "protocol": TEXT, "sourceIp": TEXT, "userAgent": TEXT}
                ),
                "requestId": TEXT,
                "routeKey": TEXT,
                "stage": TEXT,
                "time": LOG_TIME,
                "timeEpoch": WHOLE,
            },
            authorizer={"type": "object", "maxProperties": 1, "propertyNames": {"enum": ["jwt", "lambda", "iam"]}},
        ),
        "isBase64Encoded": SWITCH,
    },
    cookies=some(TEXT),
    queryStringParameters=a_map(TEXT) | {"minProperties": 1},
    pathParameters=a_map(TEXT) | {"minProperties": 1},
    stageVariables=a_map(TEXT) | {"minProperties": 1},
    body={"type": "string", "minLength": 1},
)

# "Use Lambda functions as targets of an Application Load Balancer", User Guide for Application Load Balancers
_ALB = {
    "requestContext": members({"elb": members({"targetGroupArn": arn("elasticloadbalancing", "targetgroup/.+/.+")})}),
    "httpMethod": METHOD,
    "path": {"type": "string", "pattern": "^/"},
    "body": TEXT,
    "isBase64Encoded": SWITCH,
}
_LOWER = {"propertyNames": {"pattern": "^[^A-Z]+$"}}
ALB = either(
    members(_ALB | {"headers": a_map(TEXT) | _LOWER, "queryStringParameters": a_map(TEXT)}),
    members(
        _ALB | {"multiValueHeaders": a_map(some(TEXT)) | _LOWER, "multiValueQueryStringParameters": a_map(some(TEXT))}
    ),
)

SHAPES = {
    "s3": S3,
    "sqs": SQS,
    "sns": SNS,
    "kinesis": KINESIS,
    "dynamodb": DYNAMODB,
    "eventbridge": EVENTBRIDGE,
    "apigateway": APIGATEWAY,
    "httpapi": PAYLOAD_2,
    "functionurl": PAYLOAD_2,
    "alb": ALB,
}
