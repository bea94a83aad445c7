"""MongoDB's error codes: number, name and row (the facts are those of src/mongo/base/error_codes.yml, version 8.3).

A code that is not here is a ``DATABASE_ERROR``. Codes that a server keeps to itself have a row all the same: versions of one
cluster that do not know each other let them through.
"""

from __future__ import annotations

from prodfix.classification.classifications import (
    APPLIED_LATE,
    BUSY,
    CONTENDED,
    DAMAGED,
    DATABASE_ERROR,
    DOCUMENT_TOO_LARGE,
    DUPLICATE,
    INTERRUPTED,
    INVALID,
    MISCONFIGURED,
    NOT_DURABLE,
    TIMED_OUT,
    UNFINISHED,
    Classification,
)

_GROUPS: tuple[tuple[Classification, str], ...] = (
    # What the request asked for cannot be done.
    (DUPLICATE, "11000 DuplicateKey 11001 LegacyDuplicateKeyOnUpdate 12582 LegacyDuplicateKeyOnShard"),
    (INVALID, "121 DocumentValidationFailure"),
    # Places in the server's code that measure a document or a key before they have a code for it: an update and an upsert that
    # would make one of more than 16 MB, and an index of MongoDB 4.0 that has no room for a value.
    (
        DOCUMENT_TOO_LARGE,
        """116 DocTooLargeForCapped 10334 BSONObjectTooLarge 17280 OBSOLETE_KeyTooLong 17419 Location17419
        17420 Location17420 7655103 Location7655103""",
    ),
    # Our credentials, roles, certificates or version are refused: never the user's 401, and no try helps. 8000 is what Atlas
    # says of all its own refusals, a quota too.
    (
        MISCONFIGURED,
        """11 UserNotFound 13 Unauthorized 18 AuthenticationFailed 31 RoleNotFound 33 PrivilegeNotFound
        69 AuthSchemaIncompatible 101 OutdatedClient 140 InvalidSSLConfiguration 141 SSLHandshakeFailed
        214 AuthenticationRestrictionUnmet 299 OCSPCertificateStatusRevoked 302 OCSPCertificateStatusUnknown
        334 MechanismUnavailable 337 AuthenticationAbandoned 352 UnsupportedOpQueryCommand
        354 LoadBalancerSupportMismatch 390 InvalidSignature 391 ReauthenticationRequired 392 InvalidJWT
        404 LDAPRoleAcquisitionError 8000 AtlasError 16547 LegacyUnauthorized 16548 LegacyUnauthorizedOnShard""",
    ),
    # It took too long; a write may have been applied.
    (TIMED_OUT, "50 MaxTimeMSExpired 202 NetworkInterfaceExceededTimeLimit 262 ExceededTimeLimit"),
    # The connection was lost, also between the cluster's own nodes.
    (
        INTERRUPTED,
        """6 HostUnreachable 7 HostNotFound 89 NetworkTimeout 145 PooledConnectionsDropped 172 TransportSessionClosed
        173 TransportSessionNotFound 174 TransportSessionUnknown 199 ReplicaSetMonitorRemoved 230 DNSHostNotFound
        231 DNSProtocolError 240 DNSRecordTypeMismatch 279 ClientDisconnect 303 SplitHorizonChange
        317 ConnectionPoolExpired 382 RemoteCommandExecutionError 384 ConnectionError 398 StreamTerminated
        9001 SocketException 56846 ConfigServerUnreachable 91331 RetriableRemoteCommandFailure""",
    ),
    # The node is not, or no longer, what it has to be for this: it steps down, ends, or is not ready yet.
    (
        INTERRUPTED,
        """91 ShutdownInProgress 94 NotYetInitialized 95 NotSecondary 133 FailedToSatisfyReadPreference
        134 ReadConcernMajorityNotAvailableYet 149 NoConfigPrimary 189 PrimarySteppedDown
        190 MasterSlaveConnectionFailure 203 ShardingStateNotInitialized 216 ElectionInProgress
        281 TransactionCoordinatorSteppingDown 333 ServiceExecutorInShutdown 355 InterruptedDueToStorageChange
        358 InternalTransactionNotSupported 372 CloseConnectionForShutdownCommand 10058 LegacyNotPrimary
        10107 NotWritablePrimary 11600 InterruptedAtShutdown 11602 InterruptedDueToReplStateChange
        13435 NotPrimaryNoSecondaryOk 13436 NotPrimaryOrSecondary 10045600 InterruptedDueToFCVChange""",
    ),
    # Somebody ended it, or its history is gone: how far it came is not known, and the same again may meet the same end.
    (
        UNFINISHED,
        """65 MultipleErrorsOccurred 77 OperationIncomplete 90 CallbackCanceled 217 IncompleteTransactionHistory
        310 PeriodicJobIsStopped 312 OperationIsKilledAndDelisted 11601 Interrupted 46841 ClientMarkedKilled""",
    ),
    # The server is overloaded, or out of sessions or connections.
    (
        BUSY,
        """261 TooManyLogicalSessions 402 ResourceExhausted 407 PooledConnectionAcquisitionExceededTimeLimit
        433 AdmissionQueueOverflow 449 RateLimitExceeded 450 PooledConnectionAcquisitionRejected
        462 IngressRequestRateLimitExceeded""",
    ),
    # Something else was at the same data, locks or chunks; a transaction that lost is taken back.
    (
        CONTENDED,
        """24 LockTimeout 46 LockBusy 107 LockFailed 112 WriteConflict 117 ConflictingOperationInProgress
        200 ChunkRangeCleanupPending 208 TooManyLocks 215 DatabaseDropPending 239 SnapshotTooOld
        244 NOT_YET_AVAILABLE_TransactionAborted 246 SnapshotUnavailable 250 StaleChunkHistory 251 NoSuchTransaction
        267 PreparedTransactionInProgress 272 MigrationConflict 282 TransactionCoordinatorReachedAbortDecision
        287 TransactionCoordinatorDeadlineTaskCanceled 290 TransactionExceededLifetimeLimitSeconds
        311 TransactionCoordinatorCanceled 336 TimeseriesBucketCleared 342 ReshardingCriticalSectionTimeout
        343 ShardCannotRefreshDueToLocksHeld 363 RetryableTransactionInProgress 365 TemporarilyUnavailable
        369 FLETransactionAbort 374 TransactionAPIMustRetryTransaction 406 MigrationBlockingOperationCoordinatorCleaningUp
        410 TimeseriesBucketFrozen 412 UpdatesStillPending 453 InterruptedDueToReshardingCriticalSection
        12586 BackgroundOperationInProgressForDatabase 12587 BackgroundOperationInProgressForNamespace
        50915 BackupCursorOpenConflictWithCheckpoint""",
    ),
    # The router's map of the shards is old; it is read again.
    (
        CONTENDED,
        """63 OBSOLETE_StaleShardVersion 150 StaleEpoch 249 StaleDbVersion 360 PlacementVersionRefreshCanceled
        379 DatabaseMetadataRefreshCanceled 445 DatabaseMetadataRefreshCanceledDueToFCVTransition
        9996 OBSOLETE_RecvStaleConfig 13388 StaleConfig""",
    ),
    # Applied, but not confirmed as asked.
    (APPLIED_LATE, "64 WriteConcernTimeout"),
    (
        NOT_DURABLE,
        "75 WriteConcernLegacyOK 79 UnknownReplWriteConcern 100 UnsatisfiableWriteConcern 256 TransactionCommitted",
    ),
    # The server is ill: its disk, files, memory or data. An operator must look.
    (
        DAMAGED,
        """22 InvalidBSON 37 FileRenameFailed 38 FileNotOpen 39 FileStreamFailed 41 FileAlreadyOpen 42 LogWriteFailed
        51 ManualInterventionRequired 80 RoleDataInconsistent 98 DBPathInUse 157 CanRepairToDowngrade 158 MustUpgrade
        176 FileOpenFailed 229 MustDowngrade 264 TooManyFilesOpen 269 DataModifiedByRepair
        270 RepairedReplicaSetNode 288 ChecksumMismatch 301 DataCorruptionDetected 371 UserWritesBlocked
        378 NonConformantBSON 14031 OutOfDiskSpace""",
    ),
    # A cursor or a change stream that cannot go on; what was read until then is right.
    (
        DATABASE_ERROR,
        """43 CursorNotFound 96 OperationFailed 136 CappedPositionLost 143 CursorInUse 175 QueryPlanKilled
        222 CloseChangeStream 234 RetryChangeStream 237 CursorKilled 260 InvalidResumeToken 280 ChangeStreamFatalError
        286 ChangeStreamHistoryLost 314 ObjectIsBusy 346 ChangeStreamInvalidated 348 ChangeStreamTopologyChange
        351 ChangeStreamStartAfterInvalidate 376 ChangeStreamNotEnabled 401 ResumeTenantChangeStream
        17406 LegacyCursorDropped 28617 LegacyCursorCollectionDropped""",
    ),
    # The command, its options or its document are wrong: a defect of the application, or of what it let pass.
    (
        DATABASE_ERROR,
        """2 BadValue 3 OBSOLETE_DuplicateKey 4 NoSuchKey 5 GraphContainsCycle 9 FailedToParse 10 CannotMutateObject
        12 UnsupportedFormat 14 TypeMismatch 15 Overflow 16 InvalidLength 17 ProtocolError 19 CannotReuseObject
        20 IllegalOperation 21 EmptyArrayOperation 28 PathNotViable 29 NonExistentPath 30 InvalidPath
        34 CannotBackfillArray 40 ConflictingUpdateOperators 47 NoMatchingDocument 52 DollarPrefixedFieldName
        53 InvalidIdField 54 NotSingleValueField 55 InvalidDBRef 56 EmptyFieldName 57 DottedFieldName
        59 CommandNotFound 66 ImmutableField 72 InvalidOptions 73 InvalidNamespace 78 CommandResultSchemaViolation
        81 NoMatchParseContext 84 OBSOLETE_DuplicateKeyValue 97 NoProjectionFound 111 NotExactValueField
        115 CommandNotSupported 125 CommandFailed 139 JSInterpreterFailure 142 JSUncatchableError
        146 ExceededMemoryLimit
        151 OperationCannotBeBatched 159 DurationOverflow 160 MaxStalenessOutOfRange 168 InvalidPipelineOperator
        170 TooManyMatchingDocuments 187 LinearizableReadConcernError 192 FailPointEnabled 207 InvalidUUID
        218 UpdateOperationFailed 223 IllegalOpMsgFlag 224 QueryFeatureNotAllowed 226 AtomicityFailure
        232 MaxSubPipelineDepthExceeded 233 TooManyDocumentSequences 238 NotImplemented 241 ConversionFailure
        266 FailPointSetFailed 271 JSInterpreterFailureWithStack 291 NoQueryExecutionPlans
        292 QueryExceededMemoryLimitNoDiskUseAllowed 297 HierarchicalAcquisitionLevelViolation
        322 APIVersionError 323 APIStrictError 324 APIDeprecationError 347 APIMismatchError 349 KeyPatternShorterThanBound
        357 InvalidBSONType 361 CollectionUUIDMismatch 377 FLEMaxTagLimitExceeded 386 DuplicateKeyId
        387 EncounteredFLEPayloadWhileApplyingHmac 389 LibmongocryptError 393 InvalidTenantId 395 TruncatedSerialization
        408 CannotInsertTimeseriesBucketsWithMixedSchema 409 TimeseriesBucketCompressionFailed
        411 QueryRejectedBySettings 434 NoDistinctScansForDistinctEligibleQuery 447 ObjectAlreadyExists
        10003 CannotGrowDocumentInCappedNamespace 13113 MergeStageNoMatchingDocument
        31082 SearchNotEnabled 40413 IDLDuplicateField 40414 IDLFailedToParse 40415 IDLUnknownField
        4662500 IDLUnknownFieldPossibleMongocryptd""",
    ),
    # Sessions and transactions used in a way that cannot work; nothing of them is applied.
    (
        DATABASE_ERROR,
        """206 NoSuchSession 213 DuplicateSession 225 TransactionTooOld 228 SessionTransferIncomplete
        257 TransactionTooLarge 263 OperationNotSupportedInTransaction 283 WouldChangeOwningShard 356 TxnRetryCounterTooOld
        366 WouldChangeOwningShardDeletedNoDocument 373 InternalTransactionsExhaustiveFindHasMore
        375 TransactionAPIMustRetryCommit 388 TransactionTooLargeForCache 413 TransactionParticipantFailedUnyield
        50768 NotARetryableWriteCommand 57986 RetryableInternalTransactionNotSupported""",
    ),
    # Databases, collections, views and indexes.
    (
        DATABASE_ERROR,
        """26 NamespaceNotFound 27 IndexNotFound 48 NamespaceExists 60 OBSOLETE_DatabaseNotFound 67 CannotCreateIndex
        68 IndexAlreadyExists 85 IndexOptionsConflict 86 IndexKeySpecsConflict 161 IncompatibleCollationVersion
        162 CollectionIsEmpty 165 ViewDepthLimitExceeded 166 CommandNotSupportedOnView 167 OptionNotSupportedOnView
        169 CommandOnShardedViewNotSupportedOnMongod 171 CannotIndexParallelArrays 181 AmbiguousIndexKeyPattern
        182 InvalidViewDefinition 195 ViewPipelineMaxSizeExceeded 197 InvalidIndexSpecificationOption
        201 CannotBuildIndexKeys 221 IndexModified 227 CannotImplicitlyCreateCollection 242 CannotCreateCollection
        276 IndexBuildAborted 278 UnsatisfiableCommitQuorum 285 IndexBuildAlreadyInProgress 359 CannotConvertIndexToUnique
        383 CollectionIsEmptyLocally 396 IndexInformationTooLarge 426 IndexIsEmpty 430 IndexKeyOrderViolation
        13297 DatabaseDifferCase 4938500 IndexNotFoundCachedPlan""",
    ),
    # Users, roles, keys and clocks of the cluster.
    (
        DATABASE_ERROR,
        """32 RolesNotRelated 35 UserModificationFailed 45 UserDataInconsistent 49 InvalidRoleModification
        58 RoleModificationFailed 102 IncompatibleAuditMetadata 106 DistributedClockSkewed 183 ClientMetadataMissingField
        184 ClientMetadataAppNameTooLarge 185 ClientMetadataDocumentTooLarge 186 ClientMetadataCannotBeMutated
        204 TimeProofMismatch 205 ClusterTimeFailsRateLimiter 209 StaleClusterTime 210 CannotVerifyAndSignLogicalTime
        211 KeyNotFound 344 AuditingNotEnabled 345 RuntimeAuditConfigurationNotEnabled
        446 ClusterUMCErrorWithWriteConcernError""",
    ),
    # Shards, chunks and zones.
    (
        DATABASE_ERROR,
        """61 ShardKeyNotFound 70 ShardNotFound 87 CannotSplit 88 OBSOLETE_SplitFailed 105 IncompatibleShardingMetadata
        118 NamespaceNotSharded 132 OBSOLETE_ConfigServersInconsistent 137 IncompatibleShardingConfigVersion
        153 ChunkTooBig 154 InconsistentShardIdentity 156 OBSOLETE_NeedsDocumentMove 163 ZoneStillInUse 177 ZoneNotFound
        178 RangeOverlapConflict 191 OBSOLETE_BalancerLostDistributedLock 193 OBSOLETE_NoShardingEnabled
        194 BalancerInterrupted 265 OrphanedRangeCleanUpFailed
        300 RangeDeletionAbandonedBecauseCollectionWithUUIDDoesNotExist
        307 RangeDeletionAbandonedBecauseTaskDocumentDoesNotExist 313 ResumableRangeDeleterDisabled
        319 MovePrimaryInProgress 338 ReshardCollectionInProgress 339 NoSuchReshardCollection 340 ReshardCollectionCommitted
        341 ReshardCollectionAborted 350 ReshardCollectionTruncatedError 370 CannotDropShardKeyIndex
        381 ReshardingCoordinatorServiceConflictingOperationInProgress 403 UnsupportedShardingEventNotification
        405 CannotCreateChunkDistribution 414 AddOrRemoveShardInProgress 431 ChunkMetadataInconsistency
        13104 OBSOLETE_PrepareConfigsFailed 28769 NamespaceCannotBeSharded 640570 IllegalChangeToExpectedShardVersion
        640571 IllegalChangeToExpectedDatabaseVersion 1003141 RemoveShardDrainingInProgress""",
    ),
    # Replication and its set-up.
    (
        DATABASE_ERROR,
        """36 RemoteChangeDetected 62 OplogOperationUnsupported 71 ReplicaSetNotFound 74 NodeNotFound
        76 NoReplicationEnabled 82 NoProgressMade 83 RemoteResultsUnavailable 92 SecondaryAheadOfPrimary
        93 InvalidReplicaSetConfig 103 NewReplicaSetConfigurationIncompatible 104 NodeNotElectable
        108 InconsistentReplicaSetNames 109 ConfigurationInProgress 110 CannotInitializeNodeWithData
        113 InitialSyncFailure 114 InitialSyncOplogSourceMissing 119 InvalidSyncSource 120 OplogStartMissing
        122 OBSOLETE_ReadAfterOptimeTimeout 123 NotAReplicaSet 124 IncompatibleElectionProtocol
        127 UnrecoverableRollbackError 135 StaleTerm 138 RemoteOplogStale 148 ReadConcernMajorityNotEnabled
        152 OplogOutOfOrder 155 CannotApplyOplogWhilePrimary 164 InitialSyncActive 212 IncompatibleRollbackAlgorithm
        268 CannotBackup 293 InvalidSeedList 294 InvalidTopologyType 295 InvalidHeartBeatFrequency
        296 TopologySetNameRequired 298 InvalidServerType 308 CurrentConfigNotCommittedYet 315 TooStaleToSyncFromSource
        326 OplogQueryMinTsMissing 385 ConflictingServerlessOperation""",
    ),
    # What a server says of itself: versions, files of diagnostics, parts that are not there.
    (
        DATABASE_ERROR,
        """1 InternalError 8 UnknownError 23 AlreadyInitialized 25 RemoteValidationError 126 RPCProtocolNegotiationFailed
        128 LockNotFound 129 LockStateChangeFailed 130 SymbolNotFound 144 IncompatibleCatalogManager 147 ZLibError
        179 WindowsPdhError 180 BadPerfCounterPath 188 IncompatibleServerVersion 198 OBSOLETE_ReceivedOpReplyMessage
        219 FTDCPathNotSet 220 FTDCPathAlreadySet 235 InternalErrorNotSupported 236 ForTestingErrorExtraInfo
        243 IncompatibleWithUpgradedServer 245 BrokenPromise 247 ProducerConsumerQueueBatchTooLarge
        248 ProducerConsumerQueueEndClosed 252 ReentrancyNotAllowed 258 UnknownFeatureCompatibilityVersion
        259 KeyedExecutorRetry 273 ProducerConsumerQueueProducerQueueDepthExceeded 274 ProducerConsumerQueueConsumed
        275 ExchangePassthrough 277 AlarmAlreadyFulfilled 284 ForTestingErrorExtraInfoWithExtraInfoInNamespace
        289 WaitForMajorityServiceEarlierOpTimeAvailable 306 ReadThroughCacheLookupCanceled 309 ExhaustCommandFinished
        316 QueryTrialRunCompleted 318 ForTestingOptionalErrorExtraInfo 330 SkipCommandExecution
        331 FailedToRunWithReplyBuilder 332 CannotDowngrade 362 FutureAlreadyRetrieved 367 FLECompactionPlaceholder
        380 RequestAlreadyFulfilled 400 CannotUpgrade 427 DbCheckSecondaryBatchTimeout
        428 DbCheckAttemptOnClusteredCollectionIdIndex 429 DbCheckInconsistentHash 432 OfflineValidationFailedToComplete
        435 QueryStatsFailedToRecord 442 RetryMultiPlanning 452 ReleaseMemoryShardError 454 ReplayClientConfigurationError
        455 ReplayClientNotConnected 456 ReplayClientFailedToProcessBSON 457 ReplayClientInternalError
        458 ReplayClientSessionSchedulerError 459 ReplayClientSessionSimulationError 9737301 UnsupportedCbrNode
        9751901 HistogramCEFailure 9751902 SamplingCEFailure 9751903 CEFailure
        10171600 ReadThroughCacheTimeMonotonicityViolation""",
    ),
    # Atlas Stream Processing.
    (
        DATABASE_ERROR,
        """415 StreamProcessorDoesNotExist 416 StreamProcessorAlreadyExists 417 StreamProcessorWorkerShuttingDown
        418 StreamProcessorWorkerOutOfMemory 419 StreamProcessorKafkaConnectionError 420 StreamProcessorInvalidOptions
        421 StreamProcessorAtlasConnectionError 422 StreamProcessorAtlasUnauthorizedError
        423 StreamProcessorSourceDocTooLarge 424 StreamProcessorTooManyOutputTargets
        425 StreamProcessorCannotResumeFromSource 436 StreamProcessorHTTPSConnectionError
        440 StreamProcessorExternalFunctionConnectionError 443 StreamProcessorS3ConnectionError
        444 StreamProcessorS3Error 448 StreamProcessorInvalidNamespace 451 StreamProcessorS3TokenExpired
        460 StreamProcessorKinesisConnectionError 461 StreamProcessorKinesisError""",
    ),
)


def _codes() -> dict[int, tuple[str, Classification]]:
    found: dict[int, tuple[str, Classification]] = {}
    for row, text in _GROUPS:
        words = text.split()
        for number, name in zip(words[::2], words[1::2], strict=True):
            if int(number) in found:
                raise ValueError(f"the server's code {number} has two rows")
            found[int(number)] = (name, row)
    return dict(sorted(found.items()))


SERVER_CODES: dict[int, tuple[str, Classification]] = _codes()
"""Number -> the server's name for it, and its row."""
