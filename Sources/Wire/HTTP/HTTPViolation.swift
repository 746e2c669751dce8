/// A way in which received bytes break HTTP/1.1 or a limit, with the status to answer and a sentence for the client.
///
/// After any of these the connection must be closed: the bytes that follow can't be trusted to start a request.
@frozen public enum HTTPViolation: UInt8, Equatable, Sendable, CaseIterable {
  // The request line
  case tls, http2Preface, emptyLines, badMethod, methodCase, unknownMethod, connect
  case badTarget, targetCharacter, asteriskTarget, missingVersion, badVersion, unsupportedVersion
  case requestLineTooLong
  // Lines and fields
  case bareLineFeed, bareCarriageReturn, foldedField, spaceBeforeColon, badFieldName, missingColon, controlInField
  case headTooLarge
  case missingHost, duplicateHost, badHost
  case badContentLength, duplicateContentLength, contentTooLong
  case lengthAndTransferEncoding, duplicateTransferEncoding, chunkedNotFinal, unsupportedTransferEncoding
  case transferEncodingInHTTP10
  case unknownExpectation
  case duplicateContentType, duplicateIfMatch, duplicateIfNoneMatch, duplicateIdempotencyKey, duplicateAuthorization
  // Chunked bodies
  case badChunkSize, chunkTooLong, badChunkExtension, missingChunkEnd, badTrailer, chunkOverheadTooLarge

  /// The status of the answer.
  public var status: HTTPStatus {
    switch self {
    case .unknownMethod, .methodCase, .connect, .unsupportedTransferEncoding: .notImplemented
    case .http2Preface, .unsupportedVersion: .versionNotSupported
    case .requestLineTooLong: .uriTooLong
    case .headTooLarge, .chunkOverheadTooLarge: .headerFieldsTooLarge
    case .contentTooLong, .chunkTooLong: .contentTooLarge
    case .unknownExpectation: .expectationFailed
    default: .badRequest
    }
  }

  /// One or two sentences that say what is wrong and what to do. ASCII.
  public var sentence: StaticString {
    switch self {
    case .tls: "This port speaks plain HTTP, not TLS: use http:// instead of https://."
    case .http2Preface: "This port speaks HTTP/1.1, not HTTP/2 with prior knowledge: let the client use HTTP/1.1."
    case .emptyLines: "There are too many empty lines before the request line: send the request line first."
    case .badMethod: "A request must start with a method such as GET, followed by one space."
    case .methodCase: "Methods are case-sensitive: write GET, HEAD, PUT, POST, DELETE, PATCH or OPTIONS in capitals."
    case .unknownMethod: "This method isn't known here: use GET, HEAD, PUT, POST, DELETE, PATCH or OPTIONS."
    case .connect: "This is not a proxy, so there is no CONNECT: send the request itself."
    case .badTarget: "The request target must be a path that starts with '/', or http://host/path."
    case .targetCharacter:
      "The request target holds a character that isn't allowed there: percent-encode it, for example %20 for a space."
    case .asteriskTarget: "The request target '*' is only for OPTIONS: use a path that starts with '/'."
    case .missingVersion: "The request line must end with a space and HTTP/1.1."
    case .badVersion: "The request line must end with exactly one space, HTTP/1.1 and CRLF."
    case .unsupportedVersion: "Only HTTP/1.1 and HTTP/1.0 are spoken here: say HTTP/1.1 in the request line."
    case .requestLineTooLong: "The request line is longer than this server's limit: shorten the path or the query."
    default: fieldSentence
    }
  }

  private var fieldSentence: StaticString {
    switch self {
    case .bareLineFeed: "Every line must end with CR and LF: there is an LF without a CR before it."
    case .bareCarriageReturn: "Every line must end with CR and LF: there is a CR without an LF after it."
    case .foldedField: "A header field must not start with white space or go on in a second line: put it on one line."
    case .spaceBeforeColon: "A header field's name must be followed by its colon at once: remove the white space."
    case .badFieldName: "A header field's name holds a character that isn't allowed there."
    case .missingColon: "A header field must be a name, a colon and a value: there is no colon."
    case .controlInField: "A header field holds a control character: remove it."
    case .headTooLarge: "The header fields are together larger than this server's limit: send fewer or shorter ones."
    case .missingHost: "An HTTP/1.1 request must have a Host field: add it, even if it is empty."
    case .duplicateHost: "A request must have only one Host field: remove the others."
    case .badHost: "The Host field holds a character that isn't allowed in a host and port."
    case .badContentLength: "Content-Length must be one decimal number of bytes: digits only, no sign, no list."
    case .duplicateContentLength: "A request must have only one Content-Length: remove the others."
    case .contentTooLong: "Content-Length is beyond what any server can take: send a smaller body."
    case .duplicateContentType: "A request must have only one Content-Type: remove the others."
    case .duplicateIfMatch: "A request must have only one If-Match field: join the entity tags with commas."
    case .duplicateIfNoneMatch: "A request must have only one If-None-Match field: join the entity tags with commas."
    case .duplicateIdempotencyKey: "A request must have only one Idempotency-Key: remove the others."
    case .duplicateAuthorization: "A request must have only one Authorization field: remove the others."
    case .unknownExpectation: "The only expectation known here is 100-continue: remove the Expect field."
    default: bodySentence
    }
  }

  private var bodySentence: StaticString {
    switch self {
    case .lengthAndTransferEncoding: "A request has Content-Length or Transfer-Encoding, never both: remove one."
    case .duplicateTransferEncoding: "A request must have only one Transfer-Encoding field: send exactly chunked."
    case .chunkedNotFinal:
      "The last transfer coding of a request must be chunked, once: send exactly chunked, or Content-Length."
    case .unsupportedTransferEncoding: "The only transfer coding known here is chunked: leave out the others."
    case .transferEncodingInHTTP10: "HTTP/1.0 has no Transfer-Encoding: use HTTP/1.1, or Content-Length."
    case .badChunkSize: "A chunk must start with its size in hexadecimal, at most 16 digits, and CRLF."
    case .chunkTooLong: "A chunk's size is beyond what any server can take: send smaller chunks."
    case .badChunkExtension:
      "A chunk extension must start with ';' and hold no control characters: send chunks without extensions."
    case .missingChunkEnd: "A chunk's data must be followed by CRLF: the size given before it doesn't match the data."
    case .badTrailer: "A trailer field after the last chunk must be a name, a colon, a value and CRLF."
    case .chunkOverheadTooLarge:
      "Chunk extensions and trailers are together larger than this server's limit: leave them out."
    default: preconditionFailure("a violation without a sentence")
    }
  }
}
