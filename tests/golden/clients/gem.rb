# The Ruby gem's way: multipart, timestamp and signature last, UTF-8 and slashes as they are, the cdn a text from ENV.
# With `again` as the first parameter, the same request object is signed and sent twice.
require 'json'
require 'net/http'
require 'openssl'
require 'uri'

class Request
  def initialize(command, params)
    @members = { command: command, api_key: ENV['USHER_API_KEY'], cdn: ENV['USHER_CDN'] }.merge(params)
  end

  # A hash keeps the place of a member that is set again: so does the old signature of a request that is sent again.
  def sign
    @members[:timestamp] = Time.now.to_i
    digest = OpenSSL::HMAC.digest(OpenSSL::Digest.new('sha256'), ENV['USHER_SECRET'], JSON.generate(@members))
    @members[:signature] = [digest].pack('m0')
  end

  def post(url)
    sign
    uri = URI(url)
    request = Net::HTTP::Post.new(uri)
    request.set_form([['json', JSON.generate(@members)]], 'multipart/form-data')
    answer = Net::HTTP.start(uri.host, uri.port) { |http| http.request(request) }
    raise "HTTP #{answer.code}" unless answer.is_a?(Net::HTTPSuccess)

    answer.body
  end
end

url, command, *pairs = ARGV
again = pairs.first == 'again' && pairs.shift
params = pairs.to_h do |pair|
  name, value = pair.split('=', 2)
  [name.to_sym, value.match?(/\A\d+\z/) ? value.to_i : value.dup.force_encoding('UTF-8')]
end
request = Request.new(command, params)
request.post(url) if again
puts request.post(url)
