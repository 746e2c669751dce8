import Reactor
import Wire

/// What `/v1/cluster` of a node says, as far as a listing shows it.
struct ClusterReport {
  struct Member {
    var name = ""
    var id = ""
    var http: String?
    var state = ""
    var status = ""
    var role = ""
    var partitions: Int64 = 0
    var replicas: Int64 = 0
  }

  var node = ""
  var leader: String?
  var clusterName = ""
  var clusterID: String?
  var epoch: Int64 = 0
  var hasQuorum = false
  var commits: Int64 = 0
  var checksum: String?
  /// Numbers of partitions' data, by the revision that the partition ends with.
  var data: [String: String] = [:]
  var members: [Member] = []
  var warnings: [String] = []

  /// Asks a node.
  ///
  /// - Throws: `ReactorError` or `ClientFailure`, with a sentence for people.
  init(asking address: String) throws {
    let answer = try Target("http://\(address)/v1/cluster?data").request("GET", patience: 1)
    guard answer.status == 200 else { throw ClientFailure(description: "\(address) answers \(answer.status).") }
    try answer.body.withUnsafeBytes { bytes in
      guard let text = try? JSONValue(validating: bytes) else {
        throw ClientFailure(description: "\(address) doesn't answer as kvd does.")
      }
      read(text)
    }
  }

  private mutating func read(_ object: JSONValue) {
    var members = object.members()
    while let (name, value) = members.next().map({ ($0.name.plainText, $0.value) }) {
      switch name {
      case "node": node = value["id"]?.plainText ?? ""
      case "cluster":
        clusterName = value["name"]?.plainText ?? ""
        clusterID = value["id"]?.plainText
      case "leader": leader = value.plainText
      case "epoch": epoch = value.integer ?? 0
      case "quorum": hasQuorum = value.boolean ?? false
      case "commits": commits = value.integer ?? 0
      case "checksum": checksum = value.plainText
      case "data":
        var members = value.members()
        while let member = members.next() { data[member.name.plainText ?? ""] = member.value.plainText }
      case "members":
        var elements = value.elements()
        while let element = elements.next() { self.members.append(Member(element)) }
      case "warnings":
        var elements = value.elements()
        while let element = elements.next() { warnings.append(element.plainText ?? "") }
      default: break
      }
    }
  }
}

extension ClusterReport.Member {
  fileprivate init(_ object: JSONValue) {
    name = object["name"]?.plainText ?? "?"
    id = object["id"]?.plainText ?? ""
    http = object["http"]?.plainText
    state = object["state"]?.plainText ?? ""
    status = object["status"]?.plainText ?? ""
    role = object["role"]?.plainText ?? ""
    partitions = object["partitions"]?.integer ?? 0
    replicas = object["replicas"]?.integer ?? 0
  }
}

extension JSONValue {
  /// The member of this name.
  subscript(name: String) -> JSONValue? {
    var members = members()
    while let member = members.next() {
      if member.name.plainText == name { return member.value }
    }
    return nil
  }

  /// A string's text; nil for another kind.
  var plainText: String? {
    var bytes: [UInt8] = []
    return string(into: &bytes) ? String(decoding: bytes, as: UTF8.self) : nil
  }
}

/// A table of a cluster's nodes: what one of them knows of all, and what each says of itself.
struct ClusterTable {
  private let report: ClusterReport
  /// By id, from those that answered.
  private let answers: [String: ClusterReport]

  /// Asks a node, and then every member that should be there.
  init(asking address: String) throws {
    report = try ClusterReport(asking: address)
    var answers = [report.node: report]
    for member in report.members where member.id != report.node && member.status != "Unhealthy" {
      guard let http = member.http, member.state != "down" else { continue }
      answers[member.id] = try? ClusterReport(asking: http)
    }
    self.answers = answers
  }

  /// Whether all who answered have said what their data is.
  var isComplete: Bool { answers.values.allSatisfy { $0.checksum != nil } }

  /// Of each node that answered, how many partitions' data differ from what others have of the same revision: from what
  /// most have, or, where no more have one than another, from any.
  private var differences: [String: Int] {
    var counts: [String: [String: Int]] = [:]
    for answer in answers.values {
      for (revision, sum) in answer.data { counts[revision, default: [:]][sum, default: 0] += 1 }
    }
    return answers.mapValues { answer in
      answer.data.count { revision, sum in
        let others = counts[revision]!
        return others.count > 1 && others.contains { $0.key != sum && $0.value >= others[sum]! }
      }
    }
  }

  /// The lines of the table.
  ///
  /// - Parameter isColoured: agreement is green and disagreement red.
  func lines(isColoured: Bool) -> [String] {
    let quorum = report.hasQuorum ? "quorum" : "no quorum"
    let cluster = report.clusterID.map { " \($0.prefix(8))" } ?? ""
    let leader = report.leader.map { "goose \($0)" } ?? "no goose"
    var lines = ["cluster \(report.clusterName)\(cluster), \(leader), epoch \(report.epoch), \(quorum)", ""]
    var rows = [["NAME", "ID", "PARTITIONS", "REPLICAS", "COMMITS", "CHECKSUM", "STATE"]]
    let differences = differences
    for member in report.members {
      let answer = answers[member.id]
      rows.append([
        member.name, String(member.id.prefix(8)), "\(member.partitions)", "\(member.replicas)",
        answer.map { "\($0.commits)" } ?? "-", answer?.checksum.map { String($0.prefix(12)) } ?? "-",
        ([member.state] + (member.role == "goose" ? ["goose"] : [])
          + (member.status == "Healthy" ? [] : [member.status.lowercased()])
          + (answer == nil ? ["doesn't answer"] : [])
          + (differences[member.id, default: 0] == 0 ? [] : ["\(differences[member.id]!) partitions differ"]))
          .joined(separator: ", "),
      ])
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max()! }
    for (index, row) in rows.enumerated() {
      var cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
      if isColoured, index > 0, answers[report.members[index - 1].id]?.checksum != nil {
        let isAgreed = differences[report.members[index - 1].id, default: 0] == 0
        cells[5] = "\u{1B}[\(isAgreed ? 32 : 31)m\(cells[5])\u{1B}[0m"
      }
      lines.append(cells.joined(separator: "  ").trimmingTrailingBlanks())
    }
    lines += report.warnings.isEmpty ? [] : [""] + report.warnings.map { "warning: \($0)" }
    return lines
  }
}

extension String {
  /// Without blanks at the end.
  fileprivate func trimmingTrailingBlanks() -> String {
    var text = self
    while text.last == " " { text.removeLast() }
    return text
  }
}
