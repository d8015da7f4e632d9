"""The words that programs match on: types and reasons of conditions. They are API.

Anyone may import them; none is ever renamed or given another meaning.
"""

from enum import StrEnum


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    STORAGE_READY = "StorageReady"
    MODELS_PULLED = "ModelsPulled"
    AVAILABLE = "Available"
    READY = "Ready"
    STALLED = "Stalled"
    TOKENS_ROTATED = "TokensRotated"
    UPGRADE_PENDING = "UpgradePending"
    UNENCRYPTED = "Unencrypted"


class Reason(StrEnum):
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    REFUSED = "Refused"
    PATCH_REFUSED = "PatchRefused"
    KIND_MISSING = "KindMissing"

    BOUND = "Bound"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    EPHEMERAL = "Ephemeral"
    EXISTING_CLAIM = "ExistingClaim"
    PENDING = "Pending"
    WAITING_FOR_BINDING = "WaitingForBinding"
    EXPANSION_NOT_SUPPORTED = "ExpansionNotSupported"
    VOLUME_LOST = "VolumeLost"

    PULLED = "Pulled"
    PULLING = "Pulling"
    PULL_FAILED = "PullFailed"
    MODEL_NOT_FOUND = "ModelNotFound"
    PULL_DENIED = "PullDenied"
    DIGEST_MISMATCH = "DigestMismatch"
    DISK_FULL = "DiskFull"
    CREATE_FAILED = "CreateFailed"
    OLLAMA_UNREACHABLE = "OllamaUnreachable"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    MODELS_MISSING = "ModelsMissing"

    AVAILABLE = "Available"
    STARTING = "Starting"
    LOADING = "Loading"
    LOAD_FAILED = "LoadFailed"
    NOT_ACCELERATED = "NotAccelerated"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CRASH_LOOP = "CrashLoop"
    OUT_OF_MEMORY = "OutOfMemory"
    REPLICA_FAILURE = "ReplicaFailure"
    ROLLING_OUT = "RollingOut"
    CONTAINER_CONFIG = "ContainerConfig"
    DRAINING = "Draining"
    SCALED_TO_ZERO = "ScaledToZero"
    SUSPENDED = "Suspended"
    READY = "Ready"

    ROTATED = "Rotated"
    ROTATING = "Rotating"
    NOT_OURS = "NotOurs"
    NEWER_IMAGES = "NewerImages"
    NO_TLS = "NoTLS"
