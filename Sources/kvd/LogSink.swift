import Engine
import Glibc
import Logging
import Reactor
import Wire

/// Where log lines go: standard error, one `write` per line, as JSON objects or as text.
final class LogSink: Sendable {
  let level: LogLevel
  let isJSON: Bool

  init(level: LogLevel, isJSON: Bool) {
    self.level = level
    self.isJSON = isJSON
  }

  /// Writes a line whose fields are a JSON object's without its braces.
  func write(_ level: LogLevel, fields: UnsafeRawBufferPointer) {
    guard level >= self.level else { return }
    var line = start(level)
    line.append(contentsOf: isJSON ? ",".utf8 : " ".utf8)
    line.append(contentsOf: fields)
    finish(&line)
  }

  /// Writes a message with its metadata.
  func write(_ level: LogLevel, _ message: String, _ metadata: [(String, String)]) {
    guard level >= self.level else { return }
    var line = start(level)
    if isJSON {
      append(",\"message\":", message, to: &line)
      for (name, value) in metadata {
        line.append(UInt8(ascii: ","))
        append("", name, to: &line)
        append(":", value, to: &line)
      }
    } else {
      line.append(contentsOf: " \(message)".utf8)
      for (name, value) in metadata { line.append(contentsOf: " \(name)=\(value)".utf8) }
    }
    finish(&line)
  }

  private func start(_ level: LogLevel) -> [UInt8] {
    var line: [UInt8] = []
    line.reserveCapacity(256)
    line.append(contentsOf: isJSON ? "{\"ts\":\"".utf8 : "".utf8)
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 24) { room in
      Text.writeISO8601(unixMilliseconds: Int64(Clock.realtime() / 1_000_000), to: room.baseAddress!)
      line.append(contentsOf: room)
    }
    line.append(contentsOf: isJSON ? "\",\"level\":\"\(level)\"".utf8 : " \(level)".utf8)
    return line
  }

  private func finish(_ line: inout [UInt8]) {
    line.append(contentsOf: isJSON ? "}\n".utf8 : "\n".utf8)
    line.withUnsafeBytes { bytes in
      var sent = 0
      while sent < bytes.count {
        let count = Glibc.write(2, bytes.baseAddress! + sent, bytes.count - sent)
        if count < 0 && errno != EINTR { return }  // nobody reads the log: go on without it
        sent += max(0, count)
      }
    }
  }

  private func append(_ prefix: String, _ text: String, to line: inout [UInt8]) {
    line.append(contentsOf: prefix.utf8)
    var text = text
    text.withUTF8 { appendJSONString(UnsafeRawBufferPointer($0), to: &line) }
  }
}

/// swift-log's door to the sink.
struct LineLogHandler: LogHandler {
  let sink: LogSink
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.trace

  init(sink: LogSink) { self.sink = sink }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
    let pairs = all.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
    sink.write(LogLevel(event.level), "\(event.message)", pairs)
  }
}

extension LogLevel {
  /// The same level in swift-log's words.
  fileprivate init(_ level: Logger.Level) {
    switch level {
    case .trace: self = .trace
    case .debug: self = .debug
    case .info: self = .info
    case .notice: self = .notice
    case .warning: self = .warning
    case .error: self = .error
    case .critical: self = .critical
    }
  }
}
