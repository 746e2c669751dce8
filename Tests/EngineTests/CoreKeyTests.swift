import Testing

@testable import Engine

@Suite("One key over HTTP")
struct CoreKeyTests {
  @Test("a key is created, read, replaced and deleted", arguments: [1, 2, 3])
  func life(cores: Int) {
    let node = TestNode(cores: cores)
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      #expect(node.ask("GET", path).status == 404)
      let created = node.ask("PUT", path, "Content-Type: text/x-own; v=1", body: "one")
      #expect(created.status == 201)
      let read = node.ask("GET", path)
      #expect(read.status == 200)
      #expect(read.text == "one")
      #expect(read["content-type"] == "text/x-own; v=1")
      #expect(read.etag == created.etag)
      #expect(read["kvd-ttl"] == nil)
      let replaced = node.ask("POST", path, body: "")
      #expect(replaced.status == 200)
      #expect(replaced.etag != created.etag)
      let empty = node.ask("GET", path)
      #expect(empty.status == 200)
      #expect(empty["content-length"] == "0")
      #expect(empty["content-type"] == "application/octet-stream")
      #expect(node.ask("DELETE", path).status == 204)
      #expect(node.ask("DELETE", path).status == 404)
    }
    node.checkAtRest()
  }
}
